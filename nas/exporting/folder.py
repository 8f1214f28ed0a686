"""`nas export`: chosen trials of a run folder as configs, plain PyTorch files and ONNX files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nas.architecture import ArchitectureConfig, save_config
from nas.errors import UserError, unknown
from nas.exporting.config import trial_config
from nas.exporting.select import select as choose
from nas.run import Run, load_run
from nas.trial import Trial

if TYPE_CHECKING:
    from search_spaces.model import Network

FORMATS = ("config", "torch", "onnx")
UNTRAINED = "UNTRAINED: this trial kept no weights, those here are random"


def export_run(
    run_dir: str | Path, select: str = "knee", to: Sequence[str] = ("config",), output: str | Path | None = None
) -> list[Path]:
    """Write the chosen trials (see nas.exporting.select) to `output`, by default RUN_DIR/export; returns the files.

    Works on running and broken campaigns. Raises UserError for unknown trials or formats and what cannot be written.
    """
    run = load_run(run_dir)
    return export_trials(run, choose(run, select), to, Path(output) if output is not None else run.path / "export")


def export_trials(run: Run, trials: Sequence[Trial], to: Sequence[str], output: Path) -> list[Path]:
    """As export_run, for trials at hand."""
    for name in to:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS, "--to")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror})") from None
    return [path for trial in trials for path in _export(run, trial, to, output)]


def _export(run: Run, trial: Trial, to: Sequence[str], output: Path) -> list[Path]:
    stem = output / f"trial-{trial.number:04d}"
    trained = trial.checkpoint is not None and (run.path / trial.checkpoint).is_file()
    needs_weights = trained or set(to) != {"config"}
    config = trial_config(trial, run, weights=f"{stem.name}.safetensors" if needs_weights else None)
    if not trained:
        reason = f"{trial.state}: {trial.error}" if trial.error else trial.state
        told = "its weights here are random" if needs_weights else "its config comes without any"
        print(f"warning: {trial.name} kept no weights ({reason}); {told}", file=sys.stderr)
    if not trained and needs_weights:
        config = config.model_copy(update={"notes": (UNTRAINED, *config.notes)})
    files = []
    if needs_weights:
        network = _network(run, trial, config, trained)
        files.append(_save_weights(network, stem.with_suffix(".safetensors")))
    if "config" in to:
        files.append(save_config(config, stem.with_suffix(".yaml")))
    if "torch" in to:
        from nas.exporting.torch_file import write_torch

        files.append(write_torch(network, config, stem.with_suffix(".py")))
    if "onnx" in to:
        from nas.exporting.onnx_file import write_onnx

        write_onnx(network, config, stem.with_suffix(".onnx"))
        files.append(stem.with_suffix(".onnx"))
    return files


def _network(run: Run, trial: Trial, config: ArchitectureConfig, trained: bool) -> "Network":
    from safetensors.torch import load_file

    network = config.build(seed=run.campaign.seed)
    if trained:
        assert trial.checkpoint is not None
        network.load_state_dict(load_file(run.path / trial.checkpoint))
    return network.eval()


def _save_weights(network: "Network", path: Path) -> Path:
    from safetensors.torch import save

    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(save({k: v.contiguous() for k, v in network.state_dict().items()}))
    return partial.replace(path)
