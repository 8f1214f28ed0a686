"""The gate: a score is believed in a campaign only when it says more than size does, on the campaign's own trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluators.zero_cost.base import SIZES
from evaluators.zero_cost.partial_tau import pair_signs, partial_of, sign_products, unexplained

LEAST_TRIALS = 20
RESAMPLES = 1000
LEVEL = 0.95
CHUNK = 100  # resamples at a time

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """tau: with the accuracy. partial: given the sizes. rest: of what a smooth function of the sizes leaves of both.

    With bootstrap intervals; None where not defined.
    """

    score: str
    trials: int
    tau: float | None
    partial: float | None
    interval: Interval | None
    rest: float | None
    rest_interval: Interval | None
    used: bool
    reason: str


def judge(
    score: str,
    values: Mapping[str, Sequence[float | None]],
    accuracy: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Verdict:
    """Whether a score is used. values: score name -> one number per trial, None where it is absent; sizes included.

    It is when the intervals of its partial tau and of its rest lie above 0: the 2.5 to 97.5 % range over resampled
    trials. A size is judged given the two others.
    """
    rows = [i for i, value in enumerate(values[score]) if value is not None]
    if len(rows) < LEAST_TRIALS:
        return _refused(score, len(rows), f"only {len(rows)} trials have it; at least {LEAST_TRIALS} are needed")
    given = [s for s in SIZES if s != score]
    columns = [np.array(column, dtype=float)[rows] for column in (values[score], accuracy, *(values[s] for s in given))]
    signs, left = pair_signs(columns), pair_signs([unexplained(column, columns[2:]) for column in columns[:2]])
    tau, partial, rest = (_of_all(tables) for tables in (signs[:2], signs, left))
    if tau is None:
        return _refused(score, len(rows), "it, or the accuracy, is the same in all trials")
    if partial is None or rest is None:
        return _refused(score, len(rows), "it follows from the sizes", tau)
    interval, rest_interval = (_interval(tables, seed, resamples) for tables in (signs, left))
    reason = _why_not(partial, interval) or _why_not(rest, rest_interval)
    return Verdict(
        score=score, trials=len(rows), tau=tau, partial=partial, interval=interval, rest=rest,
        rest_interval=rest_interval, used=not reason, reason=reason or f"positive given {', '.join(given)}",
    )  # fmt: skip


def _of_all(signs: np.ndarray) -> float | None:
    return partial_of(sign_products(signs, np.ones((1, signs.shape[1])))[0])


def _interval(signs: np.ndarray, seed: int, resamples: int) -> Interval:
    """Percentiles over resampled trials; those in which nothing is left to correlate count as 0."""
    rng, count = np.random.default_rng(seed), signs.shape[1]
    found: list[float] = []
    for first in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - first)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(float)
        found += [partial_of(products) or 0.0 for products in sign_products(signs, weights)]
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _refused(score: str, trials: int, reason: str, tau: float | None = None) -> Verdict:
    return Verdict(
        score=score, trials=trials, tau=tau, partial=None, interval=None, rest=None, rest_interval=None, used=False,
        reason=reason,
    )  # fmt: skip


def _why_not(value: float, interval: Interval) -> str:
    """Empty where the interval lies above 0."""
    if interval[0] > 0:
        return ""
    if value <= 0:
        return "nothing, or less, beyond size"
    return f"may be chance: an interval begins at {interval[0]:.2f}"
