"""How probable it is that a partly trained network ends on the front.

Its costs are known and its final accuracy is Gaussian in log-odds (`forecast.py`), so the answer has a closed form: it
must be more accurate than the best finished trial that costs no more. Other unfinished trials are not counted as
rivals, which makes the probability too large rather than too small. An accuracy is a share of some number of pictures:
"more" begins half a picture above the rival (nothing is above one that errs nowhere), and no forecast is surer than the
counting of so many pictures.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from nas.fidelity.forecast import expected_ends, log_odds
from nas.objective import Objective
from nas.trial import Trial


def chances(
    trials: Sequence[Trial], asked: Sequence[Trial], objectives: Sequence[Objective], epochs: int
) -> dict[int, float]:
    """Number of each asked trial -> that probability; absent for a trial of which too little is known."""
    costs = [o for o in objectives if o.name != "accuracy"]
    priced = [t for t in trials if all(o.name in t.values for o in costs)]
    complete = [t for t in priced if t.state == "complete" and len(t.curve) == epochs]
    partial = [t for t in priced if t.state in ("paused", "stopped", "running") and t.curve]
    ends = expected_ends(complete, partial, [o.name for o in costs])
    group = [t for t in asked if t.number in ends]
    mean, variance = np.array([ends[t.number] for t in group]).reshape(-1, 2).T
    picture = step([*complete, *partial])
    reach = bars(group, [t for t in complete if t.kind == "search"], costs) + picture / 2
    above = norm.sf((log_odds(reach) - mean) / np.sqrt(np.maximum(variance, counting_noise(mean, picture))))
    found = np.where(reach >= 1, 0.0, np.where(np.isneginf(reach), 1.0, above))
    return {t.number: float(p) for t, p in zip(group, found, strict=True)}


def step(trials: Sequence[Trial]) -> float:
    """What one picture of the validation split is worth: the smallest difference of two accuracies; 0 without any."""
    gaps = np.diff(np.unique(np.round([p.accuracy for t in trials for p in t.curve], 7)))
    return float(gaps.min(initial=1.0)) if len(gaps) else 0.0


def counting_noise(mean: np.ndarray, picture: float) -> np.ndarray:
    """Variance of the log-odds of a share of 1/picture pictures, by the delta method. mean: log-odds."""
    share = 1 / (1 + np.exp(-mean))
    return np.asarray(picture / np.maximum(share * (1 - share), 1e-12))


def bars(asked: Sequence[Trial], rivals: Sequence[Trial], costs: Sequence[Objective]) -> np.ndarray:
    """(n,) accuracy that each must exceed: of the best rival that costs no more; minus infinity without one."""
    found = np.full(len(asked), -np.inf)
    if not rivals:
        return found
    theirs = np.array([[o.sign * t.values[o.name] for o in costs] for t in rivals])
    reached = np.array([t.values["accuracy"] for t in rivals])
    for i, trial in enumerate(asked):
        cheaper = (theirs <= [o.sign * trial.values[o.name] for o in costs]).all(axis=1)
        found[i] = max(reached[cheaper], default=-np.inf)
    return found
