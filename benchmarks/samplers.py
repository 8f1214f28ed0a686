"""Samplers on complete tables with known fronts: the share of the true hypervolume after 25, 50, 100 and 200 trials.

    python benchmarks/samplers.py [--tables DIR] [--seeds 20] [--only DEVICE ...] [--trials 25,50,100,200] [--log FILE]

DIR holds files that sampler_tables.py reads, or folders that train_table.py filled, or is such a folder. Of a file the
reference is the worst corner, of a folder that of a campaign's report. Every line of the log is one search; with
an existing log only what is missing is run, and the tables printed at the end are made from all of it.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from row_space import row_problems
from sampler_peers import IN_PARTS, OWN, PEERS, Search, missing
from sampler_problem import Problem
from sampler_tables import CellProblem, read_table
from trained_table import is_trained, read_trained

TABLES = {"nasbench201.csv.gz": "cifar100_test"}  # file and its column of accuracies
DEFAULT = Path("../shared/data/tables")


def main() -> None:
    options = arguments()
    marks = sorted(int(mark) for mark in options.trials.split(","))
    done = read_log(options.log)
    for reason in missing():
        print(reason, file=sys.stderr)
    for problem in problems(options.tables, options.only):
        for seed in range(options.seeds):
            for name, search in chosen(problem, options.samplers).items():
                if (problem.device, name, seed) not in done:
                    line = measure(problem, name, search, seed, marks)
                    options.log.open("a").write(json.dumps(line) + "\n")
    print(summary(options.log, marks))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="samplers on complete tables with known fronts")
    parser.add_argument("--tables", type=Path, default=DEFAULT, help="a folder with the tables")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", nargs="*", help="some devices only, such as titanx_256")
    parser.add_argument("--samplers", nargs="*", help="some samplers only, such as pareto")
    parser.add_argument("--trials", default="25,50,100,200", help="after how many trials to look")
    parser.add_argument("--log", type=Path, default=Path("samplers.jsonl"))
    return parser.parse_args()


def chosen(problem: Problem, names: list[str] | None) -> dict[str, Search]:
    """All searches that can run here, or those of them that were asked for."""
    found = OWN | PEERS | (IN_PARTS if problem.whole is not problem.space else {})
    return {name: search for name, search in found.items() if not names or name in names}


def problems(folder: Path, devices: list[str] | None) -> Iterator[Problem]:
    yield from (p for p in _found(folder) if not devices or p.device in devices)


def _found(folder: Path) -> list[Problem]:
    """Those in the folder; without any, the benchmark has nothing to say."""
    files = [(folder / file, column) for file, column in TABLES.items() if (folder / file).is_file()]
    tables = [read_table(path, column) for path, column in files]
    cells = [CellProblem(source=table, device=device) for table in tables for device in table.costs]
    trained = [path for path in (folder, *sorted(folder.glob("*"))) if is_trained(path)]
    found = [*cells, *(p for path in trained for p in row_problems(read_trained(path)))]
    if not found:
        sys.exit(f"{folder}: neither {', '.join(TABLES)} nor a trained table is there; give their folder with --tables")
    return found


def measure(problem: Problem, name: str, search: Search, seed: int, marks: list[int]) -> dict[str, object]:
    """One search; a search that ran out of time lacks its last marks."""
    begun = time.process_time()
    places = search(problem, marks[-1], seed)
    seconds = time.process_time() - begun
    shares = {mark: round(problem.share(places[:mark]), 5) for mark in marks if mark <= len(places)}
    repeated = len(places) - len(set(places))
    return {
        "table": problem.table, "device": problem.device, "sampler": name, "seed": seed, "shares": shares,
        "repeated": repeated, "seconds": round(seconds, 2),
    }  # fmt: skip


def read_log(path: Path) -> set[tuple[str, str, int]]:
    lines = path.read_text().splitlines() if path.is_file() else []
    return {(r["device"], r["sampler"], r["seed"]) for r in map(json.loads, lines)}


def summary(path: Path, marks: list[int]) -> str:
    """Tables: mean and deviation per sampler over everything, then the means of each device."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    frame = pd.DataFrame([{**r, **{m: r["shares"].get(str(m)) for m in marks}} for r in rows])
    groups = frame.groupby("sampler", sort=False)
    spread = frame.groupby(["sampler", "device"], sort=False)[marks].std(ddof=0).groupby("sampler").mean()
    means = groups[marks].mean()
    lines = ["| sampler | " + " | ".join(map(str, marks)) + " | s a search |", "|---" * (len(marks) + 2) + "|"]
    for name in means.sort_values(marks[-1]).index:
        cells = (_cell(means.loc[name, m], spread.loc[name, m]) for m in marks)
        lines.append(f"| {name} | {' | '.join(cells)} | {groups['seconds'].mean()[name]:.1f} |")
    return "\n".join([*lines, "", by_device(frame, marks)])


def _cell(mean: float, deviation: float) -> str:
    """Empty where no search went that far."""
    return "" if math.isnan(mean) else f"{mean:.3f} ± {deviation:.3f}"


def by_device(frame: pd.DataFrame, marks: list[int]) -> str:
    """Means per device after every number of trials; the deviations are those between seeds, averaged over devices."""
    tables = {m: frame.pivot_table(index="device", columns="sampler", values=m, sort=False) for m in marks}
    return "\n\n".join(f"after {m} trials:\n{table.round(3).to_string()}" for m, table in tables.items())


if __name__ == "__main__":
    main()
