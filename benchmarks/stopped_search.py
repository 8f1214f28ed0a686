"""Searches with early stopping on a trained table: hypervolume by training, and training saved at equal hypervolume.

    python benchmarks/stopped_search.py [--table benchmarks/tables/digits] [--costs macs_g params_m] [--seeds 10]
                                        [--schedules 100] [--samplers pareto random] [--log FILE]

A sampler proposes, a rule of nas/fidelity decides at every rung, one worker trains; what was cut short is told to the
sampler as in a campaign. Beside that all trials in full, by the same samplers and by Optuna's multivariate TPE. Budgets
are counted in whole schedules. A line of the log is one search; only what is missing there is run.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fidelity import Draw, run_rule
from row_space import RowProblem, row_problems
from sampler_peers import PEERS, costs_known, trial_of
from trained_table import read_trained

from nas.fidelity import RULES, make_rule
from nas.samplers import make_sampler
from nas.trial import Point, Trial

FULL = "TPE, multivariate"  # of Optuna, every trial in full
MARKS = (25, 50, 100)  # whole schedules at which searches without a rule are met


def main() -> None:
    args = arguments()
    problems = row_problems(read_trained(args.table), args.costs)
    done = {_key(line) for line in _lines(args.log)}
    for seed, problem, (sampler, rule) in product(range(args.seeds), problems, _pairs(args.samplers)):
        if (problem.cost, sampler, rule, seed) not in done:
            line = measure(problem, sampler, rule, seed, args.schedules)
            args.log.open("a").write(json.dumps(line) + "\n")
    print(summary(_lines(args.log)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=Path("benchmarks/tables/digits"))
    parser.add_argument("--costs", nargs="+", default=["macs_g", "params_m"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--schedules", type=int, default=100, help="training, in whole schedules")
    parser.add_argument("--samplers", nargs="+", default=["pareto", "random"], help="ours, with every rule")
    parser.add_argument("--log", type=Path, default=Path("stopped_search.jsonl"))
    return parser.parse_args()


def _pairs(samplers: Sequence[str]) -> list[tuple[str, str]]:
    return [*product(samplers, RULES), (FULL, "none")]


def measure(problem: RowProblem, sampler: str, rule: str, seed: int, schedules: int) -> dict[str, Any]:
    """One search: its share of the table's hypervolume after every whole schedule of training."""
    epochs = problem.source.epochs
    if sampler == FULL:
        places = PEERS[FULL](problem, min(schedules, problem.size), seed)
        ended = [(epochs * (i + 1), place) for i, place in enumerate(places)]
        return _line(problem, sampler, rule, seed, schedules, ended)
    draw = proposals(problem, sampler, seed)
    replay = run_rule(make_rule(rule, problem.objectives, epochs), draw, epochs * schedules)
    ended = [(spent, int(trial.hash)) for spent, trial in replay.finished]
    told = {
        "finished": replay.cut.finished,
        "cut": replay.cut.trials,
        "expected": round(replay.cut.expected, 3),
        "true": replay.cut.true,
    }
    return _line(problem, sampler, rule, seed, schedules, ended) | told


def proposals(problem: RowProblem, name: str, seed: int) -> Draw:
    """A sampler's next row as a whole trial; none once all rows were tried."""
    sampler = make_sampler(name, problem.objectives, seed)
    sampler.knowledge = costs_known(problem)
    curves = problem.source.wide()

    def draw(trials: Sequence[Trial]) -> Trial | None:
        tried = {int(t.hash) for t in trials}
        if len(tried) == problem.size:
            return None
        place = problem.settle(sampler.propose(problem.space, trials, [], len(trials), 0), tried)
        return _whole(trial_of(problem, place, len(trials)), curves.loc[problem.network(place)].tolist())

    return draw


def _whole(trial: Trial, accuracies: Sequence[float]) -> Trial:
    points = (Point(epoch=e, loss=0.0, accuracy=a, seconds=0.0) for e, a in enumerate(accuracies, start=1))
    return replace(trial, curve=tuple(points))


def _line(
    problem: RowProblem, sampler: str, rule: str, seed: int, schedules: int, ended: list[tuple[int, int]]
) -> dict[str, Any]:
    epochs = problem.source.epochs
    places = [place for _, place in ended]
    until = [sum(spent <= epochs * (k + 1) for spent, _ in ended) for k in range(schedules)]
    shares = [round(problem.share(places[:count]), 5) if count else 0.0 for count in until]
    return {
        "cost": problem.cost,
        "sampler": sampler,
        "rule": rule,
        "seed": seed,
        "finished": len(ended),
        "shares": shares,
    }


def _key(line: dict[str, Any]) -> tuple[str, str, str, int]:
    return line["cost"], line["sampler"], line["rule"], line["seed"]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def summary(lines: list[dict[str, Any]]) -> str:
    """Mean shares and what they take: for every cost a table of shares, one of the training saved."""
    frame = pd.DataFrame(lines)
    return "\n\n".join(f"{cost}\n{_shares(part)}\n\n{_savings(part)}" for cost, part in frame.groupby("cost"))


def _shares(part: pd.DataFrame) -> str:
    rows = []
    for (sampler, rule), group in part.groupby(["sampler", "rule"]):
        table = np.array(group["shares"].tolist())
        cells = {m: f"{table[:, m - 1].mean():.3f} ± {table[:, m - 1].std():.3f}" for m in _marks(table)}
        told = {name: group[name].mean() for name in ("finished", "cut", "expected", "true")}
        rows.append({"sampler": sampler, "rule": rule, "searches": len(group), **cells, **told})
    return pd.DataFrame(rows).round(2).to_string(index=False)


def _savings(part: pd.DataFrame) -> str:
    """Schedules that the row takes to the mean share that the column (all trials in full) has after its schedules."""
    means = {pair: np.mean(group["shares"].tolist(), axis=0) for pair, group in part.groupby(["sampler", "rule"])}
    full = {sampler: mean for (sampler, rule), mean in means.items() if rule == "none"}
    rows = []
    for (sampler, rule), mean in means.items():
        met = {f"{other}, {m}": saving(mean, them, m) for other, them in full.items() for m in _marks(them[None])}
        rows.append({"times less training": f"{sampler}, {rule}", **met})
    return pd.DataFrame(rows).to_string(index=False)


def saving(mean: np.ndarray, other: np.ndarray, mark: int) -> str:
    """How many times less training `mean` takes to what `other` has after `mark` schedules."""
    reached = mean >= other[mark - 1]
    return f"{mark / (reached.argmax() + 1):.2f}" if reached.any() else f"<{mark / len(mean):.2f}"


def _marks(table: np.ndarray) -> list[int]:
    return [m for m in MARKS if m <= table.shape[1]]


if __name__ == "__main__":
    main()
