"""What a report says of a tenth more room under a limit, against all networks of complete tables.

    python benchmarks/relaxed_limits.py [--tables DIR] [--only DEVICE ...] [--trials 50] [--seeds 4] [--shares ...]

For every device, limit and seed `pareto` searches a table under one limit: on the latency that is an objective, or on
that of a second device. What a tenth more room would gain is then stated from these trials alone, as the report does
it, and compared with the table: the best of all networks within the limit against the best of those within 1.1 times
the limit, by hypervolume and by accuracy. The accuracies of a table are those of single trainings; the second truth is
the same without their noise (table_noise.py). A trained table of our own is compared as it stands.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from limited_problem import TwoDevices, history_within, limits_at, values_of
from row_space import row_problems
from sampler_peers import costs_known
from sampler_problem import Problem
from sampler_tables import read_table
from samplers import DEFAULT, TABLES
from table_noise import smoothed
from trained_table import is_trained, read_trained

from nas.limits import MATTERS, Relaxation, relaxations, relaxed, volume_gain
from nas.objective import Constraint, Objective, losses
from nas.pareto import reference_point
from nas.samplers.candidates import Pool
from nas.samplers.judge import models_of
from nas.trial import Trial

SHARES = [0.1, 0.3, 0.6]  # of the networks that keep to a limit
DIGIT = 0.05  # percent or points: what a report rounds away
DEVICES = ["1080ti_32", "eyeriss", "gold_6240", "raspi4", "titanx_256", "pixel2"]  # the second is the next in the list


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=DEFAULT, help="a folder with the tables")
    parser.add_argument("--only", nargs="*", default=DEVICES, help="some devices only; each one's second is the next")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument(
        "--shares", type=float, nargs="*", default=SHARES, help="of the networks that keep to the limit"
    )
    parser.add_argument("--log", type=Path, help="where every statement is written, one line each")
    options = parser.parse_args()
    lines = list(statements(options))
    if options.log:
        options.log.write_text("\n".join(map(json.dumps, lines)) + "\n")
    print(summary(pd.DataFrame(lines)))


def statements(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A line for each campaign and truth."""
    for problem, metric, truths in cases(options.tables, options.only):
        for share, limit in limits_at(problem, metric, options.shares):
            for seed in range(options.seeds):
                history = history_within(problem, limit, options.trials, seed)
                said = stated(problem, limit, history, seed)
                for truth, accuracy in truths.items():
                    gains = true_gains(problem, limit, history, accuracy)
                    basics = {"device": problem.device, "metric": metric, "share": share, "seed": seed, "truth": truth}
                    yield basics | judged(said, problem.objectives, *gains)


def cases(folder: Path, devices: list[str]) -> Iterator[tuple[Problem, str, dict[str, np.ndarray]]]:
    """A problem, the metric that is limited, and what counts as true accuracies (rows,)."""
    for file, column in TABLES.items():
        if (folder / file).is_file():
            table = read_table(folder / file, column)
            truths = {"as it stands": table.accuracy, "without noise": smoothed(table).accuracy}
            for device, second in zip(devices, devices[1:] + devices[:1], strict=True):
                problem = TwoDevices(source=table, device=device, second=second)
                yield from ((problem, metric, truths) for metric in (problem.cost, problem.beside))
    if is_trained(folder):
        for problem in row_problems(read_trained(folder)):
            truths = {"as it stands": np.array([problem.accuracy(place) for place in range(problem.size)])}
            yield from ((problem, metric, truths) for metric in ("macs_g", "params_m"))


def stated(problem: Problem, limit: Constraint, history: list[Trial], seed: int) -> Relaxation:
    """What the report says of these trials."""
    pool = Pool(problem.space, replace(costs_known(problem), constraints=(limit,)), seed)
    models = models_of(pool, problem.objectives, history, seed)
    return relaxations(pool, problem.objectives, models, history)[0]


def true_gains(
    problem: Problem, limit: Constraint, history: list[Trial], accuracy: np.ndarray
) -> tuple[float, float]:  # fmt: skip
    """Of hypervolume, as a share of that within the limit, and of the best accuracy."""
    cost, table = values_of(problem, limit.metric), problem.losses.copy()
    table[:, 0] = -accuracy
    within, more = cost <= limit.bound, cost <= relaxed(limit).bound
    reference = reference_point(losses([t.values for t in history], problem.objectives))
    volume = volume_gain(table[within], table[more & ~within], reference)
    return volume, float(accuracy[more].max() - accuracy[within].max())


def judged(said: Relaxation, objectives: Sequence[Objective], volume: float, accuracy: float) -> dict[str, Any]:
    """What was said beside what is true; gains in percent and in points."""
    by_accuracy = said.limit.metric in {o.name for o in objectives}
    binds = (accuracy if by_accuracy else volume) > MATTERS
    gains = {"volume": (said.volume, volume), "accuracy": (said.accuracy, accuracy)}
    beside = {
        f"{name} {word}": 100 * value
        for name, (gain, true) in gains.items()
        for word, value in {"true": true, "said": gain.mean, "low": gain.low, "high": gain.high}.items()
    }
    return {"limited": "objective" if by_accuracy else "other", "binds": said.binds, "bound": bool(binds), **beside}


def summary(found: pd.DataFrame) -> str:
    """Two tables: the gains that were said, and the verdicts."""
    groups = found.groupby(["limited", "truth"])
    gains = [
        {"limited": limited, "truth": truth, "of": name, **_compared(group, name)}
        for (limited, truth), group in groups for name in ("volume", "accuracy")
    ]  # fmt: skip
    verdicts = found.groupby(["limited", "truth", "binds"])["bound"].agg(said="size", true="sum")
    return f"{pd.DataFrame(gains).round(2).to_string(index=False)}\n\n{verdicts.to_string()}"


def _compared(found: pd.DataFrame, name: str) -> dict[str, float]:
    true, said, low, high = (found[f"{name} {word}"] for word in ("true", "said", "low", "high"))
    return {
        "statements": len(found), "true gain": true.mean(), "said": said.mean(), "upper end": high.mean(),
        "rms error": float(np.sqrt(((said - true) ** 2).mean())), "rms of none": float(np.sqrt((true**2).mean())),
        "in the interval": ((low - DIGIT <= true) & (true <= high + DIGIT)).mean(),
        "above it": (true > high + DIGIT).mean(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
