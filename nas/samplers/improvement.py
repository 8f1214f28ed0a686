"""Expected hypervolume improvement where all objectives but one are known: exact, for any number of objectives.

A point with known costs c and learned loss y ~ N(mean, deviation²) improves the dominated volume by the integral over
all costs x >= c of (level(x) - y)+, where level(x) is the best learned loss on the front at costs <= x. The level is
constant on the grid that the front spans, so that the expectation is a sum of closed forms: volumes of cells times
expected improvements (Jones et al., J. Global Optimization 1998; Emmerich et al., CEC 2011, with exact costs).
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.special import ndtr

NODES = ((-np.sqrt(3), 1 / 6), (0.0, 2 / 3), (np.sqrt(3), 1 / 6))  # of a normal variable, exact to the fifth degree


def expected_improvement(
    front: np.ndarray, mean: np.ndarray, deviation: np.ndarray, costs: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    """(n,) from the losses of the front (k, 1 + m), learned loss first; mean, deviation: (n,); costs: (n, m)."""
    inside = front[(front < reference).all(axis=1)]
    edges = [np.unique(column) for column in inside[:, 1:].T]
    levels, places = np.unique(_levels(inside, edges, reference[0]), return_inverse=True)
    gains = _gain(levels, mean[:, None], deviation[:, None])
    overlaps = [_overlaps(e, c, r) for e, c, r in zip(edges, costs.T, reference[1:], strict=True)]
    shape = tuple(len(e) + 1 for e in edges)
    return _integral(overlaps, places.reshape(shape), gains)


def spread_improvement(
    front: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    costs: np.ndarray,
    spreads: np.ndarray,
    reference: np.ndarray,
) -> np.ndarray:
    """The same where costs are predicted: spreads (n, m) are deviations of their logarithms, 0 for exact ones."""
    total = np.zeros(len(mean))
    uncertain = [bool(column.any()) for column in spreads.T]
    for nodes in product(*(NODES if wide else ((0.0, 1.0),) for wide in uncertain)):
        moved = costs * np.exp(spreads * np.array([node for node, _ in nodes]))
        weight = float(np.prod([share for _, share in nodes]))
        total += weight * expected_improvement(front, mean, deviation, moved, reference)
    return total


def _levels(front: np.ndarray, edges: Sequence[np.ndarray], worst: float) -> np.ndarray:
    """(k_1 + 1, ..., k_m + 1) best learned loss in each cell; cell i of an axis lies above its edge i - 1."""
    levels = np.full([len(e) + 1 for e in edges], worst)
    for loss, *costs in front:
        first = tuple(slice(int(np.searchsorted(e, c)) + 1, None) for e, c in zip(edges, costs, strict=True))
        levels[first] = np.minimum(levels[first], loss)
    return levels


def _overlaps(edges: np.ndarray, cost: np.ndarray, worst: float) -> np.ndarray:
    """(n, k + 1) length of each cell that lies above a cost and below the reference."""
    low = np.concatenate([[-np.inf], edges])
    high = np.concatenate([edges, [worst]])
    return np.maximum(high - np.maximum(low, cost[:, None]), 0.0)


def _gain(level: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """E (level - y)+ for y ~ N(mean, deviation²)."""
    room, safe = level - mean, np.where(deviation > 0, deviation, 1.0)
    z = room / safe
    expected = safe * (z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi))
    return np.where(deviation > 0, expected, np.maximum(room, 0.0))


def _integral(overlaps: Sequence[np.ndarray], places: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Sum over cells of their volumes times the gain at their level, one axis after the other."""
    if not overlaps:
        return gains[:, int(places)]
    if len(overlaps) == 1:
        return (overlaps[0] * gains[:, places]).sum(axis=1)
    cells = enumerate(overlaps[0].T)
    return np.sum([length * _integral(overlaps[1:], places[i], gains) for i, length in cells], axis=0)
