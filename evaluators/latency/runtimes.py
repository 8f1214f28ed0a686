"""What executes a network: PyTorch as it is, compiled by PyTorch, or ONNX Runtime."""

import tempfile
import types
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evaluators.latency.conditions import Conditions
from nas.errors import UserError

OPSET = 20
Run = Callable[[], Any]  # one forward pass


def prepare(network: nn.Module, images: Tensor, conditions: Conditions) -> Run:
    """A call that runs the network once on these images; compiling is over when this returns."""
    dtype = getattr(torch, conditions.dtype)
    return PREPARE[conditions.runtime](network.to(images.device, dtype).eval(), images.to(dtype), conditions)


def check_runnable(conditions: Conditions, device: str) -> None:
    """Raises UserError when this machine cannot measure under these conditions."""
    if conditions.kind == "cuda":
        check_cuda(device)
    if conditions.runtime != "onnxruntime":
        return
    if find_spec("onnxruntime") is None or find_spec("onnxscript") is None:
        raise UserError("runtime onnxruntime: not installed here; pip install onnxruntime onnxscript")
    if conditions.dtype == "bfloat16":
        raise UserError("runtime onnxruntime: bfloat16 is not supported; choose float32 or float16")
    if conditions.kind == "cuda":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise UserError("runtime onnxruntime: this build has no CUDA; pip install onnxruntime-gpu, or use cpu")


def check_cuda(device: str) -> None:
    """Raises UserError when there is no such GPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(device.partition(":")[2] or 0)
    if index >= count:
        known = ", ".join(f"cuda:{i}" for i in range(count))
        raise UserError(f"device {device}: " + (f"there are {known}" if count else "PyTorch sees no GPU here; use cpu"))


def _eager(network: nn.Module, images: Tensor, conditions: Conditions) -> Run:
    return partial(network, images)


def _compile(network: nn.Module, images: Tensor, conditions: Conditions) -> Run:
    run = partial(torch.compile(_with_own_code(network), dynamic=False), images)
    with torch.inference_mode():
        for _ in range(2):
            run()
    return run


def _onnxruntime(network: nn.Module, images: Tensor, conditions: Conditions) -> Run:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        with torch.no_grad():
            torch.onnx.export(
                network, (images,), path, dynamo=True, opset_version=OPSET, verbose=False, input_names=["image"]
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = conditions.threads, 1
        providers = ["CUDAExecutionProvider"] if conditions.kind == "cuda" else ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    if conditions.kind == "cpu":
        return partial(session.run, None, {"image": images.numpy()})
    binding, index = session.io_binding(), images.device.index or 0
    binding.bind_ortvalue_input("image", onnxruntime.OrtValue.ortvalue_from_numpy(images.cpu().numpy(), "cuda", index))
    binding.bind_output(session.get_outputs()[0].name, "cuda", index)
    return partial(session.run_with_iobinding, binding)


PREPARE: dict[str, Callable[[nn.Module, Tensor, Conditions], Run]] = {
    "eager": _eager, "compile": _compile, "onnxruntime": _onnxruntime,
}  # fmt: skip


def _with_own_code(network: nn.Module) -> nn.Module:
    """The network with a copy of its forward's code. The compiler caches by code object: networks of one class would
    fill one another's cache, and those beyond its limit would silently run uncompiled."""
    forward = type(network).forward
    code = forward.__code__.replace()
    copy = types.FunctionType(code, forward.__globals__, forward.__name__, forward.__defaults__, forward.__closure__)
    network.__class__ = type(type(network).__name__, (type(network),), {"forward": copy})
    return network
