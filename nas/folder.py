"""The run folder: what a campaign leaves on disk beside its journal. All of it can be rebuilt from the journal."""

import json
from pathlib import Path

import pandas as pd

from nas.exporting.config import write_config
from nas.reporting import write_report
from nas.reporting.tables import front_table, trials_table
from nas.run import Run, load_run


def rebuild(run_dir: Path | str) -> Path:
    """Tables, configs and report of a run folder anew, also of a running or broken campaign. Returns the page."""
    return write_folder(load_run(run_dir))


def write_folder(run: Run) -> Path:
    """Resolved campaign, environment, tables, one config per front member, report. Returns the report's page."""
    write_text(run.path / "campaign.yaml", run.campaign.to_yaml())
    write_text(run.path / "environment.json", json.dumps(run.environment, indent=2) + "\n")
    write_tables(run)
    write_configs(run)
    return write_report(run)


def write_tables(run: Run) -> None:
    """trials.csv, trials.parquet and front.csv, each whole or not at all."""
    trials = trials_table(run)
    write_text(run.path / "trials.csv", trials.to_csv(index=False))
    write_text(run.path / "front.csv", front_table(run).to_csv(index=False))
    partial = run.path / ".trials.parquet.partial"
    as_columns(trials).to_parquet(partial, index=False)
    partial.replace(run.path / "trials.parquet")


def write_configs(run: Run) -> list[Path]:
    """configs/ holds the front as it is now, and nothing that has left it."""
    folder = run.path / "configs"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"trial-{trial.number:04d}.yaml" for trial in run.front()]
    for trial, path in zip(run.front(), paths, strict=True):
        kept = trial.checkpoint is not None and (run.path / trial.checkpoint).is_file()
        write_config(trial, run, path, weights=f"../{trial.checkpoint}" if kept else None)
    for stale in set(folder.glob("trial-*.yaml")) - set(paths):
        stale.unlink()
    return paths


def as_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed types become text, since parquet holds one type a column."""
    mixed = [c for c in table.columns if table[c].dtype == object]
    return table.assign(**{c: table[c].map(lambda v: None if pd.isna(v) else str(v)) for c in mixed})


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
