"""How often the gate of zero-cost scores lets through what it should, and what it should not, in made-up campaigns.

    python benchmarks/score_gate.py [--trials 20 40 80] [--campaigns 200] [--resamples 300]

Sizes are Gaussian, MACs correlated with parameters, accuracy = params + quality. Scores: `noise`; `copy`, params with
noise of half their deviation, which says nothing beyond size; `true`, 0.7 params + quality + as much noise.
"""

import argparse
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from evaluators.zero_cost.gate import Verdict, judge

KINDS = ("noise", "copy", "true")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[20, 40, 80])
    parser.add_argument("--campaigns", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=300)
    options = parser.parse_args(arguments)
    print("share of campaigns in which a score passes: both conditions | partial tau alone | rest alone")
    for trials in options.trials:
        for kind in KINDS:
            found = [verdict(kind, trials, seed, options.resamples) for seed in range(options.campaigns)]
            print(f"{trials} trials, {kind}: " + " | ".join(f"{share:.3f}" for share in shares(found)), flush=True)


def verdict(kind: str, trials: int, seed: int, resamples: int) -> Verdict:
    """Of the gate on one score in one campaign."""
    params, own, depth, quality, noise = np.random.default_rng(seed).normal(size=(5, trials))
    score = {"noise": noise, "copy": params + 0.5 * noise, "true": 0.7 * params + quality + noise}[kind]
    values = {"params": params, "macs": 0.7 * (params + own), "depth": depth.round(), "score": score}
    return judge("score", values, params + quality, resamples=resamples)


def shares(found: Sequence[Verdict]) -> tuple[float, float, float]:
    """(used, interval of partial tau above 0, interval of the rest above 0)."""
    return (
        fmean(v.used for v in found),
        fmean(v.interval is not None and v.interval[0] > 0 for v in found),
        fmean(v.rest_interval is not None and v.rest_interval[0] > 0 for v in found),
    )


if __name__ == "__main__":
    main()
