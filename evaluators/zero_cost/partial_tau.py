"""Kendall's tau and the partial tau given covariates (Kendall, Biometrika 1942; matrix form as in Kim, ppcor, 2015)."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

LEAST = 1e-9  # share of pairs that covariates leave unexplained, below which nothing is left to correlate


def pair_signs(columns: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
    """(k, n, n): sign(x_i - x_j) of every pair of rows. Kendall's tau-b is the cosine of two such tables."""
    values = np.asarray(columns, dtype=float)
    return np.sign(values[:, :, None] - values[:, None, :])


def sign_products(signs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(r, k, k): inner products of the tables when row i counts weights[r, i] times, as it does in a bootstrap."""
    count = len(signs)
    found = np.empty((len(weights), count, count))
    for a in range(count):
        for b in range(a, count):
            found[:, a, b] = found[:, b, a] = ((weights @ (signs[a] * signs[b])) * weights).sum(axis=1)
    return found


def partial_of(products: np.ndarray) -> float | None:
    """Partial correlation of the first two variables given the others from a matrix of inner products G.

    With S = G_xx - G_xz G_zz⁺ G_zx over the first two, it is S_01 / √(S_00 S_11): equal to -P_01 / √(P_00 P_11) with
    P = T⁻¹, T the matrix of pairwise taus, wherever T has an inverse. None where the covariates leave nothing over.
    """
    scale = np.sqrt(np.diag(products))
    if (scale[:2] == 0).any():
        return None
    cosines = products / np.outer(scale, scale) if scale.all() else _without_constants(products, scale)
    across = cosines[:2, 2:]
    left = cosines[:2, :2] - across @ np.linalg.pinv(cosines[2:, 2:], rcond=1e-10, hermitian=True) @ across.T
    if min(left[0, 0], left[1, 1]) < LEAST:
        return None
    return float(np.clip(left[0, 1] / np.sqrt(left[0, 0] * left[1, 1]), -1, 1))


def partial_tau(x: Sequence[float], y: Sequence[float], given: Sequence[Sequence[float]] = ()) -> float | None:
    """Kendall's tau-b of x and y given other columns; without any, tau-b itself. None where it is not defined."""
    signs = pair_signs([x, y, *given])
    return partial_of(sign_products(signs, np.ones((1, len(x))))[0])


def unexplained(column: Sequence[float] | np.ndarray, given: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
    """What is left of a column's ranks after a regression on cubic polynomials of the ranks of the given columns.

    Partial tau looks at the order of pairs alone, so it is above 0 for two noisy copies of one covariate (Korn,
    American Statistician 1984): they agree most where the covariate's difference is large, which its order hides.
    """
    ranks = [rankdata(each) / len(column) - 0.5 for each in given]
    terms = np.stack([np.ones(len(column)), *(rank**power for rank in ranks for power in (1, 2, 3))], axis=1)
    own = rankdata(column)
    rest: np.ndarray = own - terms @ np.linalg.lstsq(terms, own, rcond=None)[0]
    return rest.round(6)  # what differs by rounding alone is a tie


def _without_constants(products: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """A covariate that never changes explains nothing."""
    kept = scale > 0
    return products[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept])
