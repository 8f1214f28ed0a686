"""How probable it is that a partly trained network ends on the front.

Its costs are known and its final accuracy is Gaussian in log-odds (`forecast.py`), so the answer has a closed form: it
must be more accurate than the best finished trial that costs no more. Other unfinished trials are not counted as
rivals, which makes the probability too large rather than too small.
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
    above = norm.sf((bars(group, [t for t in complete if t.kind == "search"], costs) - mean) / np.sqrt(variance))
    return {t.number: float(p) for t, p in zip(group, above, strict=True)}


def bars(asked: Sequence[Trial], rivals: Sequence[Trial], costs: Sequence[Objective]) -> np.ndarray:
    """(n,) log-odds that each must exceed: of the best rival that costs no more; minus infinity without one."""
    found = np.full(len(asked), -np.inf)
    if not rivals:
        return found
    theirs = np.array([[o.sign * t.values[o.name] for o in costs] for t in rivals])
    reached = log_odds([t.values["accuracy"] for t in rivals])
    for i, trial in enumerate(asked):
        cheaper = (theirs <= [o.sign * trial.values[o.name] for o in costs]).all(axis=1)
        found[i] = max(reached[cheaper], default=-np.inf)
    return found
