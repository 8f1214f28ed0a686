"""What stopping early may have cost: expected and found members of the front among the trials that were cut short.

A share of them, drawn at random, is finished in the end. The order of drawing belongs to the trials' numbers and the
seed, so that a resumed campaign draws the same ones.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from nas.run import Run

_STREAM = 0x51  # keeps this draw apart from others of the same seed
CONFIDENCE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """cut: trials that were cut short, those finished later to check included. checked: of these, finished.

    stated: trials with a probability. expected: members of the front among them, by these probabilities. likeliest:
    (trial, its probability). expected_checked and found: members among the checked ones, predicted and true.
    share_at_most: upper end of the one-sided 90 % interval of the share of members among all, from the check alone
    (Clopper and Pearson, Biometrika 26, 1934); None without a check.
    """

    cut: int
    stated: int
    expected: float
    likeliest: tuple[int, float] | None
    checked: int
    expected_checked: float
    found: int
    share_at_most: float | None


def risk(run: Run) -> Risk:
    """Of a campaign so far."""
    waiting = {t.number for t in run.searched() if t.state in ("paused", "stopped")}
    done = set(run.checked) - waiting - {t.number for t in run.trials if t.state == "running"}
    front = {t.number for t in run.front()}
    known = {n: p for n, p in run.chances.items() if n in waiting | done}
    found = len(done & front)
    return Risk(
        cut=len(waiting | done), stated=len(known), expected=sum(known.values()),
        likeliest=max(((n, p) for n, p in known.items() if n in waiting), key=lambda pair: pair[1], default=None),
        checked=len(done), expected_checked=sum(known.get(n, 0.0) for n in done), found=found,
        share_at_most=at_most(found, len(done)) if done else None,
    )  # fmt: skip


def drawn(numbers: Iterable[int], share: float, seed: int) -> list[int]:
    """The share of these trials, rounded up, that is to be finished."""
    order = sorted(numbers, key=lambda n: float(np.random.default_rng((seed, n, _STREAM)).random()))
    return order[: math.ceil(round(share * len(order), 6))]


def at_most(found: int, of: int) -> float:
    """Upper end of the exact one-sided interval of a share."""
    return 1.0 if found >= of else float(beta.ppf(CONFIDENCE, found + 1, of - found))
