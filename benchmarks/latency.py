"""Predictors of latency and energy on other people's tables: ours beside scikit-learn's, and moved to a new device.

python benchmarks/latency.py [--tables ../shared/data/tables] [--only ofa] [--splits 10] [--rows 50,200,1000]
                             [--methods ours,ridge] [--record FILE]

On networks of this project, measured here: benchmarks/latency_profile.py.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from latency_baselines import BASELINES, Choice, best_choice
from latency_record import Record
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
OURS, POWER = "ours", "time × mean power"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=Path("../shared/data/tables"))
    parser.add_argument("--only", action="append", choices=TABLES, help="one table; may be given again")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--rows", default="50,200,1000", help="training rows, with commas")
    parser.add_argument("--methods", default=",".join((OURS, *BASELINES)), help="with commas")
    parser.add_argument("--record", type=Path, help="JSON lines: figures that stand there are not computed again")
    args = parser.parse_args()
    plan = Plan(
        record=Record(args.record),
        methods=tuple(args.methods.split(",")),
        sizes=tuple(int(n) for n in args.rows.split(",")),
        splits=args.splits,
    )
    for name in args.only or TABLES:
        file, read = TABLES[name]
        if not (args.tables / file).exists():
            print(f"{name}: {args.tables / file} is missing; skipped\n")
            continue
        started = time.perf_counter()
        section = transfer if name in ("nasbench201", "fbnet_latency") else regression
        for line in section(name, read(args.tables / file), plan):
            print(line, flush=True)
        print(f"\n{args.splits} splits, {time.perf_counter() - started:.0f} s\n", flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run: methods and numbers of training rows, so many splits of each."""

    record: Record
    methods: tuple[str, ...]
    sizes: tuple[int, ...]
    splits: int


def regression(name: str, table: Table, plan: Plan) -> Iterator[str]:
    """One line per cost, number of training rows and method; figures are means over splits."""
    yield from (f"### {name}", "", HEADER.format("cost | rows | method"), "|---|---:|---|" + "---:|" * 6)
    methods = [*plan.methods, POWER] if "energy" in table.costs else plan.methods
    for cost, y in table.costs.items():
        for rows, method in product([n for n in plan.sizes if n <= 0.7 * len(y)], methods):
            measure = _method(method, table, y, rows)
            seeds = range(plan.splits)
            found = [plan.record.figures((name, cost, rows, method, seed), partial(measure, seed)) for seed in seeds]
            yield f"| {cost} | {rows} | {method} | {_cells(np.mean(found, axis=0))} |"


def _method(name: str, table: Table, y: np.ndarray, rows: int) -> Callable[[int], list[float]]:
    """Figures of a method on the split of a seed."""
    if name == OURS:
        return lambda seed: _ours(table, y, *split(table.group, rows, seed))
    if name == POWER:
        return lambda seed: _time_times_power(table, y, *split(table.group, rows, seed))
    return _baseline(name, table, y, rows)


def _baseline(name: str, table: Table, y: np.ndarray, rows: int) -> Callable[[int], list[float]]:
    """The settings that are best on the first split serve for all."""

    @cache
    def choice() -> Choice:
        inside, _ = split(table.group, rows, 0)
        return best_choice(BASELINES[name](), (table.listed[inside], table.x[inside]), y[inside])

    def figures(seed: int) -> list[float]:
        inside, held = split(table.group, rows, seed)
        features, at = ((table.listed[i], table.x[i]) for i in (inside, held))
        return [*astuple(score(choice().predict(features, y[inside], at), y[held])), np.nan]

    return figures


def _ours(table: Table, y: np.ndarray, inside: np.ndarray, held: np.ndarray) -> list[float]:
    found = StackedRegression().fit(table.x[inside], y[inside]).predict(table.x[held])
    covered = np.mean((y[held] >= found.low) & (y[held] <= found.high))
    return [*astuple(score(found.mean, y[held])), float(covered)]


def _time_times_power(table: Table, y: np.ndarray, inside: np.ndarray, held: np.ndarray) -> list[float]:
    seconds = table.listed[:, 0]
    power = (y[inside] / seconds[inside]).mean()
    return [*astuple(score(power * seconds[held], y[held])), np.nan]


def split(group: np.ndarray, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training rows and the others; rows of one group stay together."""
    order = np.random.default_rng(seed).permutation(int(group.max()) + 1)
    place = np.argsort(order)[group]
    ranked = np.argsort(place, kind="stable")
    inside = place <= place[ranked[rows - 1]]
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def transfer(name: str, table: Table, plan: Plan) -> Iterator[str]:
    """Leave one device out, with all its batch sizes; ten measurements of it, chosen from the known devices."""
    yield from (f"### {name}: a new device from {SHOTS} measurements, Spearman", "")
    yield f"| device | features only | with measured sources | in 90 % interval | from {CEILING_ROWS} rows of its own |"
    yield "|---|---:|---:|---:|---:|"
    measure = _leave_out(table, plan.splits)
    found = []
    for device in table.costs:
        found.append(plan.record.figures((name, device, SHOTS, OURS, plan.splits), partial(measure, device)))
        yield _transfer_row(device, found[-1])
    allowed = [figures for figures in found if figures[3] >= ALLOWED]
    yield _transfer_row(f"mean of all {len(found)}", np.mean(found, axis=0))
    yield _transfer_row(f"mean of {len(allowed)} with {ALLOWED} or more in the last column", np.mean(allowed, axis=0))


def _leave_out(table: Table, splits: int) -> Callable[[str], list[float]]:
    """Spearman by features alone and with measured sources, coverage of the former, and the ceiling of a device."""
    costs = {device: np.maximum(y, LOWEST * np.median(y)) for device, y in table.costs.items()}

    @cache
    def predicted(device: str) -> np.ndarray:
        return _predict(table.x, costs[device], SOURCE_ROWS)

    def figures(device: str) -> list[float]:
        known, y = [d for d in costs if model(d) != model(device)], costs[device]
        features, covered = shots(table.x, [predicted(d) for d in known], y, splits)
        measured, _ = shots(table.x, [costs[d] for d in known], y, splits)
        return [features, measured, covered, _ceiling(table.x, y)]

    return figures


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


def _transfer_row(label: str, figures: Sequence[float]) -> str:
    features, measured, covered, ceiling = figures
    return f"| {label} | {features:.3f} | {measured:.3f} | {100 * covered:.1f} % | {ceiling:.3f} |"


def _cells(figures: np.ndarray) -> str:
    w5, w10, rmspe, spearman, kendall, covered = figures
    interval = "" if np.isnan(covered) else f"{100 * covered:.1f} %"
    return f"{100 * w5:.1f} % | {100 * w10:.1f} % | {rmspe:.2f} % | {spearman:.3f} | {kendall:.3f} | {interval}"


if __name__ == "__main__":
    main()
