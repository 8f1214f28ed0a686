"""Early stopping replayed on recorded curves: rank correlation by share of the schedule, hypervolume by training.

python benchmarks/fidelity.py [TABLE | FOLDER] [--objectives macs_g ...] [--orders 20] [--keep 0.5] [--json FILE]

Without a table it takes curves with a known end. The form of a table stands in fidelity_tables.py.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from fidelity_tables import costs_of, read_table, synthetic, whole_trials
from rank_correlation import rank_correlations

from nas.errors import UserError
from nas.fidelity import RULES, Rule, make_rule
from nas.fidelity.base import cut_short
from nas.objective import Objective, losses
from nas.pareto import hypervolume, reference_point
from nas.trial import Trial

SPENT = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)  # of the training of the whole table
Draw = Callable[[Sequence[Trial]], Trial | None]  # the next whole trial, given those so far as they stand
REACHED = (0.9, 0.95, 0.98)  # of the table's hypervolume


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How many trials had been finished and how many cut short; expected, true: members of the front among these."""

    finished: int
    trials: int
    expected: float
    true: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """finished: (epochs trained so far, trial) in order."""

    finished: list[tuple[int, Trial]]
    cut: Cut


def run_rule(rule: Rule, draw: Draw, budget: int) -> Replay:
    """One worker that is given whole trials one by one, as in the loop of a search; `budget` in epochs.

    When there are no more, what waits is finished, the furthest first. The chances are those before that.
    """
    trials, ends, onward, cut = dict[int, Trial](), dict[int, Trial](), None, None
    spent, finished = 0, []
    while spent < budget:
        number = onward if onward is not None else rule.resume(list(trials.values()))
        fresh = draw(list(trials.values())) if number is None else None
        if fresh is not None:
            number, ends[fresh.number], trials[fresh.number] = fresh.number, fresh, started(fresh)
        if number is None:
            cut = cut or _cut(rule, trials, ends)
            number = furthest(trials.values())
        if number is None:
            break
        until = rule.next_rung(len(trials[number].curve)) or rule.epochs
        spent, onward = spent + until - len(trials[number].curve), None
        trials[number] = advanced(ends[number], until)
        if until == rule.epochs:
            finished.append((spent, trials[number]))
            continue
        decision = rule.decide(list(trials.values()), trials[number])
        onward = number if decision == "continue" else None
        trials[number] = replace(trials[number], state="stopped") if decision == "stop" else trials[number]
    return Replay(finished=finished, cut=cut or _cut(rule, trials, ends))


def furthest(trials: Iterable[Trial]) -> int | None:
    """Of those that wait the one trained most."""
    best = max((t for t in trials if t.state == "paused"), key=lambda t: len(t.curve), default=None)
    return best.number if best else None


def in_order(whole: Sequence[Trial]) -> Draw:
    """Trials that were recorded, one after another."""
    left = iter(whole)
    return lambda _: next(left, None)


def started(trial: Trial) -> Trial:
    return replace(trial, state="running", curve=(), values={k: v for k, v in trial.values.items() if k != "accuracy"})


def advanced(whole: Trial, until: int) -> Trial:
    """The trial as it stands after this many epochs."""
    if until == len(whole.curve):
        return whole
    return replace(started(whole), state="paused", curve=whole.curve[:until])


def _cut(rule: Rule, trials: dict[int, Trial], ends: dict[int, Trial]) -> Cut:
    """What the rule expects of the trials that are cut short, beside what they would have been."""
    chances = rule.chances(list(trials.values()), cut_short(list(trials.values())))
    front = losses([t.values for t in trials.values() if t.state == "complete"], rule.objectives)
    rows = losses([ends[n].values for n in chances], rule.objectives)
    true = sum(not (front <= row).all(axis=1).any() for row in rows)
    return Cut(finished=len(front), trials=len(chances), expected=sum(chances.values()), true=true)


def volumes(replay: Replay, objectives: tuple[Objective, ...], corner: np.ndarray, spent: Sequence[int]) -> np.ndarray:
    """Hypervolume of what had been finished by each number of epochs."""
    table = losses([t.values for _, t in replay.finished], objectives)
    return np.array([hypervolume(table[: sum(at <= epochs for at, _ in replay.finished)], corner) for epochs in spent])


def compare(table: pd.DataFrame, costs: Sequence[str], orders: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Every rule over the same random orders: shares of the table's hypervolume, and training saved."""
    whole = whole_trials(table, costs)
    objectives = (
        Objective(name="accuracy", direction="maximize"), *(Objective(name=c, direction="minimize") for c in costs)
    )  # fmt: skip
    rows, epochs = losses([t.values for t in whole], objectives), len(whole[0].curve)
    corner = reference_point(rows)
    full, total = hypervolume(rows, corner), epochs * len(whole)
    grid = [round(total * k / 200) for k in range(1, 201)]
    found: dict[str, Any] = {}
    for name in RULES:
        rule = make_rule(name, objectives, epochs, **settings)
        replays = [run_rule(rule, in_order(_shuffled(whole, seed)), total) for seed in range(orders)]
        found[name] = _summary(replays, np.array([volumes(r, objectives, corner, grid) / full for r in replays]))
    return _with_savings(found)


def _summary(replays: list[Replay], curves: np.ndarray) -> dict[str, Any]:
    at = {f"{share:.0%}": curves[:, round(200 * share) - 1] for share in SPENT}
    mean = curves.mean(axis=0)
    return {
        "volume": {share: (float(column.mean()), float(column.std())) for share, column in at.items()},
        "needed": {f"{r:.0%}": float((mean >= r).argmax() + 1) / 200 if (mean >= r).any() else None for r in REACHED},
        "finished": float(np.mean([r.cut.finished for r in replays])),
        "cut": float(np.mean([r.cut.trials for r in replays])),
        "expected": float(np.mean([r.cut.expected for r in replays])),
        "true": float(np.mean([r.cut.true for r in replays])),
    }  # fmt: skip


def _with_savings(found: dict[str, Any]) -> dict[str, Any]:
    """Training that a search without a rule takes for the same hypervolume, over that of the rule."""
    plain = found["none"]["needed"]
    for entry in found.values():
        pairs = {r: (plain[r], needed) for r, needed in entry["needed"].items()}
        entry["times"] = {r: a / b if a and b else None for r, (a, b) in pairs.items()}
    return found


def _shuffled(whole: Sequence[Trial], seed: int) -> list[Trial]:
    return [whole[i] for i in np.random.default_rng(seed).permutation(len(whole))]


def show(found: dict[str, Any]) -> None:
    for name, entry in found["rules"].items():
        at = "  ".join(f"{s}: {m:.3f} ±{d:.3f}" for s, (m, d) in entry["volume"].items())
        times = "  ".join(f"{r}: {'never' if t is None else f'{t:.2f}'}" for r, t in entry["times"].items())
        print(f"{name:14} hypervolume by training  {at}")
        print(f"{'':14} times less training for  {times}")
        print(f"{'':14} {entry['finished']:.1f} finished, {entry['cut']:.1f} cut short; of these on the front: "
              f"{entry['expected']:.2f} expected, {entry['true']:.2f} true")  # fmt: skip
    for share, taus in found["tau"].items():
        cells = (f"{what} {tau:.3f} ({low:.3f} to {high:.3f})" for what, (tau, low, high) in taus.items())
        print(f"tau at {share:8} " + "  ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, nargs="?", help="a CSV or Parquet file, a run folder or a trained table")
    parser.add_argument("--objectives", nargs="+", metavar="COST", help="one or two costs; default: the first there is")
    parser.add_argument("--orders", type=int, default=20, help="random orders of the trials")
    parser.add_argument("--rungs", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--threshold", type=float, default=0.05)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    try:
        table = read_table(args.table) if args.table else synthetic()
    except UserError as error:
        parser.error(str(error))
    settings = {"rungs": tuple(args.rungs), "keep": args.keep, "threshold": args.threshold}
    costs = args.objectives or costs_of(table)[:1]
    found = {"tau": rank_correlations(table), "rules": compare(table, costs, args.orders, settings)}
    show(found)
    if args.json:
        args.json.write_text(json.dumps({"costs": costs, **settings, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
