"""Recorded learning curves: read from a table or the record of a run, or made with a known end.

A table is a CSV or Parquet file with a row for every epoch of every trial: `trial` (a whole number), `epoch` (1, 2, ...
up to the same last one for all), `accuracy` (after this epoch, on the validation split), a column for each cost under
the name of its metric (`latency_ms`, `macs_g`, `params_m`, ...; the same in all rows of a trial) and optionally `seed`:
trials of one number and another seed are the same network trained once more. A folder of train_table.py does as well.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from curve_worker import curve
from trained_table import is_trained, read_trained

from nas.errors import UserError
from nas.genotype import Atom, Genotype, Stage
from nas.history import replay
from nas.journal import read_journal
from nas.objective import is_metric
from nas.trial import Point, Trial

NEEDED = ("trial", "epoch", "accuracy")
_NETWORK = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=16, depth=1, a=Atom("softmax")),))


def read_table(path: Path) -> pd.DataFrame:
    """Of a file, of the journal in a run folder, or of a trained table."""
    table = _from_folder(path) if path.is_dir() else _from_file(path)
    missing = [name for name in NEEDED if name not in table]
    if missing or not costs_of(table):
        raise UserError(f"{path}: expected the columns {', '.join(NEEDED)} and a cost, found {', '.join(table)}")
    return table


def _from_folder(path: Path) -> pd.DataFrame:
    return read_trained(path).frame() if is_trained(path) else from_run(path)


def _from_file(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def from_run(folder: Path) -> pd.DataFrame:
    """The trials that were trained in full, with the costs as they were while it searched, its objectives first."""
    events = [e for e in read_journal(folder / "journal.jsonl") if e["event"] not in ("remeasured", "scaled")]
    history = replay(events)
    epochs = history.campaign["training"]["epochs"]
    done = [t for t in history.trials.values() if t.state == "complete" and len(t.curve) == epochs]
    records: list[dict[str, Any]] = [
        {name: v for name, v in t.values.items() if name != "accuracy"}
        | {"trial": t.number, "epoch": p.epoch, "accuracy": p.accuracy}
        for t in done for p in t.curve
    ]  # fmt: skip
    table = pd.DataFrame(records)
    return table[sorted(table, key=lambda name: name not in history.campaign["objectives"])]


def synthetic(trials: int = 150, epochs: int = 20, seed: int = 0) -> pd.DataFrame:
    """Curves with noise whose end follows from the cost but for some scatter."""
    rng, records = np.random.default_rng(seed), []
    for number in range(trials):
        macs = float(np.exp(rng.uniform(np.log(0.002), np.log(0.05))))
        final = float(np.clip(0.9 + 0.06 * np.log10(macs) + rng.normal(0, 0.04), 0.3, 0.98))
        points = curve(final, epochs, rng=rng)
        records += [{"trial": number, "epoch": p.epoch, "accuracy": p.accuracy, "macs_g": macs} for p in points]
    return pd.DataFrame(records)


def costs_of(table: pd.DataFrame) -> list[str]:
    return [name for name in table if is_metric(name) and name != "accuracy"]


def accuracies(table: pd.DataFrame) -> list[pd.DataFrame]:
    """For each seed the accuracies, a row for every trial and a column for every epoch; the fullest seed first."""
    seeds = table.get("seed", pd.Series(0, index=table.index))
    wide = [part.pivot(index="trial", columns="epoch", values="accuracy").dropna() for _, part in table.groupby(seeds)]
    return sorted(wide, key=len, reverse=True)


def whole_trials(table: pd.DataFrame, costs: Sequence[str]) -> list[Trial]:
    """As a search would have recorded them, all trained in full."""
    values = table.groupby("trial")[list(costs)].first()
    return [_trial(int(n), row.tolist(), dict(values.loc[n])) for n, row in accuracies(table)[0].iterrows()]


def _trial(number: int, accuracy: list[float], costs: dict[str, float]) -> Trial:
    points = tuple(Point(epoch=e, loss=0.0, accuracy=a, seconds=0.0) for e, a in enumerate(accuracy, start=1))
    return Trial(
        number=number, kind="search", name=f"trial {number}", state="complete", genotype=_NETWORK, hash=str(number),
        code={}, values={**costs, "accuracy": accuracy[-1]}, curve=points,
    )  # fmt: skip
