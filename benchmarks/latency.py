"""Predictors of latency and energy on other people's tables: ours beside scikit-learn's, and moved to a new device.

python benchmarks/latency.py [--tables ../shared/data/tables] [--only ofa] [--splits 10] [--rows 50,200,1000]
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from latency_baselines import BASELINES, Choice, best_choice
from latency_tables import TABLES, Table

from evaluators.prediction.few_shot import FewShot
from evaluators.prediction.members import LinearScaleProcess
from evaluators.prediction.scores import score
from evaluators.prediction.stack import StackedRegression

HEADER = "| {} | within 5 % | within 10 % | RMSPE | Spearman | Kendall | in 90 % interval |"
SHOTS = 10
SOURCE_ROWS = 900  # measured on every known device, as HELP has them
ALLOWED = 0.95  # a device allows the aim when many measurements of its own reach this rank correlation
CEILING_ROWS = 4000
LOWEST = 0.05  # of the median: a cost below is an error of the table
OURS = "ours"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=Path("../shared/data/tables"))
    parser.add_argument("--only", action="append", choices=TABLES, help="one table; may be given again")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--rows", default="50,200,1000", help="training rows, with commas")
    args = parser.parse_args()
    sizes = [int(n) for n in args.rows.split(",")]
    for name in args.only or TABLES:
        file, read = TABLES[name]
        if not (args.tables / file).exists():
            print(f"{name}: {args.tables / file} is missing; skipped\n")
            continue
        started = time.perf_counter()
        section = transfer if name in ("nasbench201", "fbnet_latency") else regression
        for line in section(name, read(args.tables / file), args.splits, sizes):
            print(line, flush=True)
        print(f"\n{args.splits} splits, {time.perf_counter() - started:.0f} s\n", flush=True)


def regression(name: str, table: Table, splits: int, sizes: list[int]) -> Iterator[str]:
    """One line per cost, number of training rows and method; figures are means over splits."""
    yield from (f"### {name}", "", HEADER.format("cost | rows | method"), "|---|---:|---|" + "---:|" * 6)
    for cost, y in table.costs.items():
        for rows in [n for n in sizes if n <= 0.7 * len(y)]:
            for method, figures in compare(table, y, rows, splits).items():
                yield f"| {cost} | {rows} | {method} | {_cells(figures)} |"


def compare(table: Table, y: np.ndarray, rows: int, splits: int) -> dict[str, np.ndarray]:
    """Mean figures of every method. Baselines keep the settings that were best on the first split."""
    figures: dict[str, list[list[float]]] = {method: [] for method in (OURS, *BASELINES)}
    chosen: dict[str, Choice] = {}
    for seed in range(splits):
        inside, held = split(table.group, rows, seed)
        prediction = StackedRegression().fit(table.x[inside], y[inside]).predict(table.x[held])
        covered = float(np.mean((y[held] >= prediction.low) & (y[held] <= prediction.high)))
        figures[OURS].append([*astuple(score(prediction.mean, y[held])), covered])
        features, at = ((table.listed[i], table.x[i]) for i in (inside, held))
        for method, choices in BASELINES.items():
            chosen[method] = chosen.get(method) or best_choice(choices(), features, y[inside])
            figures[method].append([*astuple(score(chosen[method].predict(features, y[inside], at), y[held])), np.nan])
    if "energy" in table.costs:
        figures["time × mean power"] = [_time_times_power(table, y, rows, seed) for seed in range(splits)]
    return {method: np.mean(values, axis=0) for method, values in figures.items()}


def split(group: np.ndarray, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and the others; rows of one group stay together."""
    order = np.random.default_rng(seed).permutation(int(group.max()) + 1)
    place = np.argsort(order)[group]
    ranked = np.argsort(place, kind="stable")
    inside = place <= place[ranked[rows - 1]]
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def transfer(name: str, table: Table, splits: int, sizes: list[int]) -> Iterator[str]:
    """Leave one device out, with all its batch sizes; ten measurements of it, chosen from the known devices."""
    costs = {device: np.maximum(y, LOWEST * np.median(y)) for device, y in table.costs.items()}
    predicted = {device: _predict(table.x, y, SOURCE_ROWS) for device, y in costs.items()}
    yield from (f"### {name}: a new device from {SHOTS} measurements, Spearman", "")
    yield f"| device | features only | with measured sources | in 90 % interval | from {CEILING_ROWS} rows of its own |"
    yield "|---|---:|---:|---:|---:|"
    found: list[list[float]] = []
    for device, y in costs.items():
        known = [d for d in costs if model(d) != model(device)]
        figures = [shots(table.x, [source[d] for d in known], y, splits) for source in (predicted, costs)]
        found.append([figures[0][0], figures[1][0], figures[0][1], _ceiling(table.x, y)])
        yield _transfer_row(device, found[-1])
    allowed = [figures for figures in found if figures[3] >= ALLOWED]
    yield _transfer_row(f"mean of all {len(found)}", np.mean(found, axis=0))
    yield _transfer_row(f"mean of {len(allowed)} with {ALLOWED} or more in the last column", np.mean(allowed, axis=0))


def shots(x: np.ndarray, sources: list[np.ndarray], y: np.ndarray, splits: int) -> tuple[float, float]:
    """Mean Spearman and coverage on all networks but the ten, each time with other candidates to choose from."""
    known, figures = np.column_stack(sources), []
    for seed in range(splits):
        pool = np.random.default_rng(seed).permutation(len(y))[:SOURCE_ROWS]
        learner = FewShot.of(known[pool], x[pool])
        rows = pool[learner.choose(known[pool], x[pool], SHOTS)]
        held = np.setdiff1d(np.arange(len(y)), rows)
        found = learner.fit(known[rows], x[rows], y[rows]).predict(known[held], x[held])
        covered = np.mean((y[held] >= found.low) & (y[held] <= found.high))
        figures.append((score(found.mean, y[held]).spearman, float(covered)))
    mean = np.mean(figures, axis=0)
    return float(mean[0]), float(mean[1])


def model(device: str) -> str:
    """The device without its batch size."""
    name, _, batch = device.rpartition("_")
    return name if batch in ("1", "32", "64", "256") else device


def _predict(x: np.ndarray, y: np.ndarray, rows: int) -> np.ndarray:
    inside = np.random.default_rng(0).permutation(len(y))[:rows]
    return LinearScaleProcess().fit(x[inside], y[inside]).predict(x)


def _ceiling(x: np.ndarray, y: np.ndarray) -> float:
    held = np.random.default_rng(0).permutation(len(y))[CEILING_ROWS:]
    return score(_predict(x, y, CEILING_ROWS)[held], y[held]).spearman


def _time_times_power(table: Table, y: np.ndarray, rows: int, seed: int) -> list[float]:
    inside, held = split(table.group, rows, seed)
    seconds = table.listed[:, 0]
    power = (y[inside] / seconds[inside]).mean()
    return [*astuple(score(power * seconds[held], y[held])), np.nan]


def _transfer_row(label: str, figures: Sequence[float]) -> str:
    features, measured, covered, ceiling = figures
    return f"| {label} | {features:.3f} | {measured:.3f} | {100 * covered:.1f} % | {ceiling:.3f} |"


def _cells(figures: np.ndarray) -> str:
    w5, w10, rmspe, spearman, kendall, covered = figures
    interval = "" if np.isnan(covered) else f"{100 * covered:.1f} %"
    return f"{100 * w5:.1f} % | {100 * w10:.1f} % | {rmspe:.2f} % | {spearman:.3f} | {kendall:.3f} | {interval}"


if __name__ == "__main__":
    main()
