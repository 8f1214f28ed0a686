"""What intervals leave open: several measurements of one network as one, and who may be dominated after all.

A cost is taken as log-normal with its 90 % interval, and independent of the costs of other networks; a value without
an interval, such as the accuracy of a trial, is taken as found.
"""

from collections.abc import Sequence

import numpy as np

from nas.objective import Objective
from nas.pareto import front_indices
from nas.trial import Trial

Z90 = 1.6448536269514722  # standard deviations from the middle to the end of a 90 % interval
DRAWS = 1000
DOUBT = 0.05  # below this probability a thing is taken as settled
FINEST = 1e-4  # relative deviation that no clock tells from none


def counting_variance(accuracy: np.ndarray, pictures: int) -> np.ndarray:
    """Of shares that were counted on so many pictures, with two more successes and failures added to each.

    Without these (Agresti and Coull, The American Statistician 52, 1998) a share of 1 would seem to be certain.
    """
    share = (np.asarray(accuracy, dtype=float) * pictures + 2) / (pictures + 4)
    return np.asarray(share * (1 - share) / pictures)


def pooled(found: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """(value, low, high) of several sessions as one: the mean of the logarithms, weighted by precision.

    Where sessions differ by more than their own intervals say, the interval grows by the Birge ratio, the root of
    chi-square over the degrees of freedom (Birge, Physical Review 40, 1932).
    """
    if len(found) == 1:
        return found[0]
    value, low, high = (np.log(np.array(column)) for column in zip(*found, strict=True))
    weight = 1 / np.maximum((high - low) / (2 * Z90), FINEST) ** 2
    mean = float((weight * value).sum() / weight.sum())
    birge = float((weight * (value - mean) ** 2).sum()) / (len(found) - 1)
    reach = Z90 * np.sqrt(max(1.0, birge) / weight.sum())
    return float(np.exp(mean)), float(np.exp(mean - reach)), float(np.exp(mean + reach))


def drawn_losses(trials: Sequence[Trial], objectives: Sequence[Objective], *, seed: int = 0) -> np.ndarray:
    """(draws, trials, objectives) values that the intervals allow, every column to be minimised."""
    rng = np.random.default_rng(seed)
    table = np.empty((DRAWS, len(trials), len(objectives)))
    for j, objective in enumerate(objectives):
        values = np.array([t.values[objective.name] for t in trials])
        middle, deviation = np.array([_log_normal(t, objective.name) for t in trials]).reshape(-1, 2).T
        noise = np.exp(middle + deviation * rng.standard_normal((DRAWS, len(trials))))
        table[:, :, j] = objective.sign * np.where(deviation > 0, noise, values)
    return table


def dominated_probability(
    trials: Sequence[Trial], objectives: Sequence[Objective], *, seed: int = 0
) -> dict[int, float]:
    """Trial number -> how probable it is that another of the trials beats it in every objective."""
    if not trials:
        return {}
    drawn = drawn_losses(trials, objectives, seed=seed)
    near = np.flatnonzero(~_always_beaten(drawn))  # the rest beats nobody whom its own betters do not beat
    on_front = np.zeros(len(trials))
    for table in drawn[:, near]:
        on_front[near[front_indices(table)]] += 1
    return {t.number: float(1 - n / DRAWS) for t, n in zip(trials, on_front, strict=True)}


def _always_beaten(drawn: np.ndarray) -> np.ndarray:
    """(trials,) whether another trial at its worst is better than this one at its best."""
    best, worst = drawn.min(axis=0), drawn.max(axis=0)
    better = (worst[:, None] <= best[None]).all(axis=2) & (worst[:, None] < best[None]).any(axis=2)
    return np.asarray(better.any(axis=0))


def undecided(trials: Sequence[Trial], objectives: Sequence[Objective], *, seed: int = 0) -> set[int]:
    """Numbers of the trials that stand in a pair of which it is open whether one dominates the other."""
    table = drawn_losses(trials, objectives, seed=seed)
    found: set[int] = set()
    for i, trial in enumerate(trials):
        mine = table[:, i : i + 1]
        beaten = ((table <= mine).all(axis=2) & (table < mine).any(axis=2)).mean(axis=0)
        rivals = np.flatnonzero((beaten > DOUBT) & (beaten < 1 - DOUBT))
        found |= {trials[int(j)].number for j in rivals} | ({trial.number} if len(rivals) else set())
    return found


def _log_normal(trial: Trial, name: str) -> tuple[float, float]:
    """Mean and standard deviation of the logarithm; deviation 0 for a value that is taken as found."""
    low, high = trial.intervals.get(name, (0.0, 0.0))
    if not 0 < low < high:
        return 0.0, 0.0
    return float(np.log(low) + np.log(high)) / 2, float(np.log(high) - np.log(low)) / (2 * Z90)
