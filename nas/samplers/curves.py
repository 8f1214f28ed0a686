"""What a trial that was stopped early would have reached, from the curves of those that were not.

Accuracies are compared at one epoch of one schedule. The final value is regressed on the value there, over the trials
that were trained to the end (as in Baker et al., 2017, arXiv 1705.10823, with one feature); its deviation contains the
scatter of that regression and what few trials leave open.
"""

from collections.abc import Sequence

import numpy as np

from nas.trial import Trial

FEWEST = 2  # complete curves behind an extrapolation
PRIOR_ROWS = 3.0  # weight of the assumption that gains do not depend on the value, in rows


def stopped(trials: Sequence[Trial]) -> list[Trial]:
    """Trials whose training was ended early, not by a failure."""
    return [
        t for t in trials if t.state not in ("complete", "failed") and t.curve and np.isfinite(t.curve[-1].accuracy)
    ]


def extrapolated(trial: Trial, complete: Sequence[Trial]) -> tuple[float, float] | None:
    """Final accuracy expected of a stopped trial and its standard deviation; None where too little is known."""
    epoch, reached = trial.curve[-1].epoch, trial.curve[-1].accuracy
    pairs = [(at, t.values["accuracy"]) for t in complete if (at := _accuracy_at(t, epoch)) is not None]
    if len(pairs) < FEWEST:
        return None
    then, final = np.array(pairs).T
    middle, gain = then - then.mean(), (final - then) - (final - then).mean()
    spread = float(middle @ middle)
    prior = PRIOR_ROWS * (spread / len(then) + 1e-9)
    slope = float(middle @ gain) / (spread + prior)
    scatter = float(((gain - slope * middle) ** 2).sum()) / max(len(then) - 2, 1)
    away = reached - then.mean()
    variance = scatter * (1 + 1 / len(then) + away**2 / (spread + prior))
    return float(reached + (final - then).mean() + slope * away), float(np.sqrt(variance))


def _accuracy_at(trial: Trial, epoch: int) -> float | None:
    """Of a complete trial at an epoch, None where its curve has no such point."""
    return next((p.accuracy for p in trial.curve if p.epoch == epoch and np.isfinite(p.accuracy)), None)
