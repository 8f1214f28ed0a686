"""How much hypervolume further trials are likely to add, from how it has grown so far.

Better networks turn up about equally often in every doubling of the trials, as records do, and add less and less: the
gain is a gamma process (Moran, The Theory of Storage, 1959) over the logarithm of the number of trials, whose jumps
shrink with the power `decay` of that number. Their size has a conjugate posterior, the decay is summed over a grid.
The process always grows a little; where finds are so rare that nothing may turn up at all, its smallest gains are none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, gammaincc

FIRST = 4  # trials before the growth says anything
ENOUGH = 20  # trials before anything is forecast
STEP = 1.2  # factor between the numbers of trials at which growth is looked at
LEAST = 1e-3  # of the hypervolume: a smaller gain counts as this one
RATE, UNSEEN = 2.0, 0.5  # of the process, and of finds until seen, for each factor e of trials; weight of the latter
DECAYS = np.linspace(-1.0, 2.0, 31)
USUAL, SPREAD = 0.5, 0.3  # of the decay before anything is seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What the growth so far says about more trials; gains are relative to the hypervolume now.

    trials: ended so far. seen: shape of the process over the trials that were watched. weights: (d,) of the DECAYS.
    scales: (d,) sum of the gains, each brought to the size that it would have now. finds: that turn up for each factor
    e of trials.
    """

    trials: int
    seen: float
    weights: np.ndarray
    scales: np.ndarray
    finds: float

    @classmethod
    def fit(cls, volumes: Sequence[float] | np.ndarray) -> Self | None:
        """From the hypervolume after each trial; None where too few have ended or none had a result."""
        table = np.asarray(volumes, dtype=float)
        if len(table) < ENOUGH or table[-1] <= 0:
            return None
        marks = _marks(len(table))
        gains = np.maximum(np.diff(table[marks - 1]) / table[-1], LEAST)
        ends = np.log(marks / len(table))
        shapes, shrunk = RATE * np.diff(ends), np.outer(DECAYS, (ends[1:] + ends[:-1]) / 2)
        sizes = gains * np.exp(shrunk)
        scales, seen = sizes.sum(axis=1), float(shapes.sum())
        evidence = ((shapes - 1) * np.log(sizes) + shrunk).sum(axis=1) - seen * np.log(scales)
        evidence -= 0.5 * ((DECAYS - USUAL) / SPREAD) ** 2
        weights = np.exp(evidence - evidence.max())
        found, watched = int((np.diff(table[marks[0] - 1 :]) > 0).sum()), seen / RATE
        finds = (found + RATE * UNSEEN) / (watched + UNSEEN)
        return cls(trials=len(table), seen=seen, weights=weights / weights.sum(), scales=scales, finds=finds)

    def still(self, more: float) -> float:
        """The chance that `more` trials add nothing."""
        return float((1 + more / self.trials) ** -self.finds)

    def chance(self, more: float, gain: float) -> float:
        """That `more` trials add at least this gain."""
        ratio = gain / self._sizes(more)
        below = float(self.weights @ betainc(self._ahead(more), self.seen, ratio / (1 + ratio)))
        return 1 - max(below, self.still(more))

    def quantile(self, more: float, share: float) -> float:
        """The gain of `more` trials that is not exceeded with this probability."""
        return _solved(lambda gain: 1 - self.chance(more, gain), share)

    def rate(self, share: float) -> float:
        """Quantile of the gain per trial that is to be expected now."""
        size = _solved(lambda x: float(self.weights @ gammaincc(self.seen, self.scales / x)), share)
        return RATE * size / self.trials

    def _ahead(self, more: float) -> float:
        return RATE * float(np.log1p(more / self.trials))

    def _sizes(self, more: float) -> np.ndarray:
        """(d,) sums of gains, brought to the size that gains will have half-way."""
        return self.scales * np.exp(-DECAYS * np.log1p(more / self.trials) / 2)


def _marks(trials: int) -> np.ndarray:
    """Numbers of trials from FIRST to now, each a factor apart."""
    steps = int(np.log(trials / FIRST) / np.log(STEP))
    return np.unique(np.round(trials * STEP ** -np.arange(steps, -1, -1.0)).astype(int))


def _solved(below: Callable[[float], float], share: float) -> float:
    """Where a distribution over positive numbers reaches this share; 0 where it does so below any that matters."""
    low, high = -40.0, 10.0
    if below(float(np.exp(low))) >= share:
        return 0.0
    return float(np.exp(brentq(lambda x: below(float(np.exp(x))) - share, low, high)))
