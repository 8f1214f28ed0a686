"""What a report says of random search, against random search itself on complete tables.

    python benchmarks/claims.py [--tables DIR] [--only DEVICE ...] [--trials 50] [--seeds 6] [--costs-unknown]

For every device and seed `pareto` searches a table; what random search would have reached is then imagined from its
trials alone, as the report does it, and compared with real random searches of the same table: the share of these inside
the stated 90 % interval, how far the medians are apart, and the share of them whose trials to the campaign's
hypervolume lie in the stated interval. --costs-unknown: latency is learnt from the trials as well.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sampler_peers import costs_known, nothing_known, ours, trial_of
from sampler_problem import Problem
from samplers import DEFAULT, problems

from nas.objective import losses
from nas.pareto import hypervolume_history, reference_point
from nas.random_search import HIGH, LOW, MOST, TIMES, RandomSearches, random_searches
from nas.reporting.surrogate import WIDE
from nas.samplers.candidates import Pool
from nas.samplers.judge import models_of

REAL = 100  # random searches of the table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claim:
    """One campaign. volume: its hypervolume. said and real: (searches, 1 + trials) of random search."""

    device: str
    volume: float
    said: RandomSearches
    real: RandomSearches
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=DEFAULT, help="a folder with the tables")
    parser.add_argument("--only", nargs="*", default=["1080ti_32", "eyeriss", "pixel2", "raspi4"])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--costs-unknown", action="store_true", help="of networks that were not tried")
    options = parser.parse_args()
    knows = not options.costs_unknown
    claims = [
        claim(problem, options.trials, seed, knows)
        for problem in problems(options.tables, options.only) for seed in range(options.seeds)
    ]  # fmt: skip
    marks = sorted({options.trials // 4, options.trials // 2, options.trials})
    print(pd.DataFrame([judged(claims, mark) for mark in marks]).round(3).to_string(index=False))
    print(f"trials needed: {np.mean([share_needed(c) for c in claims]):.3f} of real searches in the stated interval")
    print(f"{len(claims)} campaigns, {np.mean([c.seconds for c in claims]):.2f} s of one core a statement")


def claim(problem: Problem, trials: int, seed: int, knows: bool) -> Claim:
    """A campaign, what is said of random search, and what random search does."""
    places = ours("pareto", costs_known, problem, trials, seed)
    history = [trial_of(problem, place, i) for i, place in enumerate(places)]
    table = losses([t.values for t in history], problem.objectives)
    reference, begun = reference_point(table), time.process_time()
    pool = Pool(problem.space, costs_known(problem) if knows else nothing_known(problem), seed)
    models = models_of(pool, problem.objectives, history, seed, WIDE)
    said = random_searches(pool, problem.objectives, models, reference, trials, seed)
    seconds = time.process_time() - begun
    real = real_searches(problem, reference, min(TIMES * trials, MOST), seed)
    volume = float(hypervolume_history(table, reference)[-1])
    return Claim(device=problem.device, volume=volume, said=said, real=real, seconds=seconds)


def real_searches(problem: Problem, reference: np.ndarray, trials: int, seed: int) -> RandomSearches:
    """Of the whole table, each network once."""
    rng = np.random.default_rng((seed, REAL))
    orders = [rng.permutation(problem.size)[:trials] for _ in range(REAL)]
    volumes = [hypervolume_history(problem.losses[order], reference) for order in orders]
    return RandomSearches(volumes=np.column_stack([np.zeros(REAL), np.array(volumes)]))


def judged(claims: list[Claim], mark: int) -> dict[str, float]:
    """After so many trials: coverage, and the error of the stated middle as a share of the real one."""
    bands, real = [c.said.band()[:, mark] for c in claims], [c.real.volumes[:, mark] for c in claims]
    held = [((low <= r) & (r <= high)).mean() for (low, _, high), r in zip(bands, real, strict=True)]
    errors = np.array([middle / np.median(r) - 1 for (_, middle, _), r in zip(bands, real, strict=True)])
    widths = [(b[2] - b[0]) / np.ptp(np.quantile(r, [LOW, HIGH])) for b, r in zip(bands, real, strict=True)]
    return {
        "trials": mark, "in the 90 % interval": float(np.mean(held)), "worst campaign": float(np.min(held)),
        "error of the middle": float(errors.mean()), "rms error": float(np.sqrt((errors**2).mean())),
        "width over the real one": float(np.mean(widths)),
    }  # fmt: skip


def share_needed(found: Claim) -> float:
    """Of the real searches, whose trials to the campaign's hypervolume lie in the stated interval."""
    low, _, high = found.said.trials_for(found.volume)
    reached = found.real.volumes >= found.volume
    needed = np.where(reached.any(axis=1), reached.argmax(axis=1), np.inf)
    return float(((low <= needed) & (needed <= high)).mean())


if __name__ == "__main__":
    main()
