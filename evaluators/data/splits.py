"""Stratified draws: every class gives its share, the same for the same seed."""

import numpy as np


def stratified(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Boolean mask of `count` pictures (a few more or less when classes are very small).

    Every class with at least two pictures has at least one inside and one outside, unless everything is asked for.
    """
    mask = np.zeros(len(labels), dtype=bool)
    if count >= len(labels):
        return ~mask
    classes, sizes = np.unique(labels, return_counts=True)
    for value, share in zip(classes, _shares(sizes, count), strict=True):
        mask[rng.permutation(np.flatnonzero(labels == value))[:share]] = True
    return mask


def _shares(sizes: np.ndarray, count: int) -> np.ndarray:
    """`count` divided in proportion to `sizes` by largest remainders."""
    exact = sizes * count / sizes.sum()
    shares = np.floor(exact).astype(int)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: count - shares.sum()]] += 1
    return np.clip(shares, np.minimum(1, sizes - 1), np.maximum(sizes - 1, 0))
