"""The config of a trial: its architecture with what was measured, and under which conditions."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nas.architecture import ArchitectureConfig, Conditions, Measured, make_config, recorded_versions, save_config
from nas.errors import UserError
from nas.run import Run
from nas.trial import Trial


def trial_config(trial: Trial, run: Run, weights: str | None = None) -> ArchitectureConfig:
    """The config of a trial, with what was measured. Raises UserError when the run does not say what its data were."""
    data = run.environment.get("data")
    if not isinstance(data, dict):
        raise UserError(f"{run.path}: the record says nothing about its data (environment.data); it cannot be exported")
    return make_config(
        trial.genotype,
        name=f"{run.campaign.name} {trial.name}",
        image_size=data["image_size"],
        in_chans=data["in_chans"],
        classes=data["class_names"],
        mean=data["mean"],
        std=data["std"],
        measured=_measured(trial, run, data) if trial.values else None,
        versions=recorded_versions(run.environment),
        notes=_notes(trial),
        weights=weights,
    )


def write_config(trial: Trial, run: Run, path: Path, weights: str | None = None) -> Path:
    """Write the config of a trial; `weights` is relative to the file."""
    return save_config(trial_config(trial, run, weights), path)


def _measured(trial: Trial, run: Run, data: dict[str, Any]) -> Measured:
    campaign, moment = run.campaign, trial.finished or trial.started
    return Measured(
        values=trial.values,
        intervals=trial.intervals,
        test_accuracy=run.test_accuracy.get(trial.number),
        conditions=Conditions(
            campaign=campaign.name,
            trial=trial.number,
            kind=trial.kind,
            date=datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds"),
            data=campaign.data.source,
            fingerprint=data.get("fingerprint"),
            limit=campaign.data.limit,
            device=run.environment.get("device_name") or run.environment.get("device") or "unknown",
            seed=campaign.seed,
            recipe=campaign.training.model_dump(mode="json"),
            latency=campaign.latency.model_dump(mode="json"),
        ),
    )


def _notes(trial: Trial) -> tuple[str, ...]:
    told = [f"{name} is predicted by a profile" for name in trial.predicted if name not in trial.measured_again]
    if trial.state == "complete":
        return (*trial.notes, *told)
    reason = f" ({trial.error})" if trial.error else ""
    return (*trial.notes, *told, f"state of the trial: {trial.state}{reason}")
