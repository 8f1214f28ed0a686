"""A network as an ONNX file whose outputs have been compared with PyTorch's in ONNX Runtime."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.architecture import ArchitectureConfig
from nas.errors import UserError
from nas.exporting.torch_file import example_images

OPSET = 20
TOLERANCE = 1e-4  # between ONNX Runtime and PyTorch
BATCHES = (1, 3)  # compared; the file takes any


def write_onnx(network: nn.Module, config: ArchitectureConfig, path: Path) -> float:
    """Write `path` and return the largest difference to PyTorch's outputs on random images.

    Input "image" (batch, channels, height, width), normalised; output "logits" (batch, classes). Class names, mean,
    deviation and opset stand in the file's metadata. Raises UserError when a mechanism cannot be written or differs.
    """
    partial = path.with_name(path.name + ".partial")
    training = network.training
    try:
        _export(network.eval(), config, partial)
        difference = compare(network, config, partial)
        if not difference <= TOLERANCE:  # not a number fails too
            raise UserError(f"{config.name}: ONNX Runtime is {difference:.2g} from PyTorch, more than {TOLERANCE:g}")
        partial.replace(path)
    finally:
        network.train(training)
        partial.unlink(missing_ok=True)
    return difference


def compare(network: nn.Module, config: ArchitectureConfig, path: Path) -> float:
    """Largest absolute difference between the file in ONNX Runtime and the network, over several batch sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    differences = []
    for batch in BATCHES:
        images = example_images(config, batch)
        with torch.no_grad():
            expected = network(images)
        found = torch.from_numpy(session.run(None, {"image": images.numpy()})[0])
        differences.append((found - expected).abs().max())
    return float(torch.stack(differences).max())


def metadata(config: ArchitectureConfig) -> dict[str, str]:
    """What stands in the file beside the graph, JSON where it is not a word."""
    facts: dict[str, Any] = {
        "classes": list(config.classes),
        "mean": list(config.input.mean),
        "std": list(config.input.std),
        "image_size": list(config.input.grid),
        "opset": OPSET,
        "name": config.name,
        "genotype": config.genotype,
        "notes": list(config.notes),
    }
    return {f"vitnas.{k}": v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in facts.items()}


def _export(network: nn.Module, config: ArchitectureConfig, path: Path) -> None:
    with _quiet(), torch.no_grad():  # attention whose mask still learns is traced with another layout than it has
        try:
            program = torch.onnx.export(
                network, (example_images(config, batch=2),), dynamo=True, opset_version=OPSET, verbose=False,
                input_names=["image"], output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )  # fmt: skip
        except Exception as error:
            raise UserError(f"{config.name}: cannot be written as ONNX: {_reason(error)}") from error
        assert program is not None
        program.model.metadata_props.update(metadata(config))
        program.save(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, warnings and log lines to itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The first line of what began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"
