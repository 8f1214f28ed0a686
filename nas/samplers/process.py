"""Gaussian process over architectures: an additive law plus what it misses, one lengthscale per choice.

k(x, x') = a0 + a1 x·x'/g + a2 (1 + √5 r + 5r²/3) exp(-√5 r),  r² = Σ_j |x_j - x'_j|² / l_j²  over the g groups of
columns that say one thing together, such as the indicators of a mechanism. Lengthscales have the prior that grows with
their number (Hvarfner, Hellsten, Nardi, ICML 2024, arXiv 2402.02229), so that 20 trials of 70 choices do not overfit.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

from evaluators.prediction.gaussian_process import evidence, matern, squared_distances

TUNING_ROWS = 160  # rows behind the hyperparameters
TUNING_STEPS = 50
JITTER = 1e-6
DRAWING_JITTER = 1e-5  # equal networks have equal rows, and rounding must not make their covariance negative
CENTRE, WIDTH = np.array([-2.0, -1.0, 0.0, -3.0]), np.array([2.0, 1.5, 1.5, 2.0])  # of log a0, a1, a2, noise
LENGTH_WIDTH = np.sqrt(3)


@dataclass(frozen=True, kw_only=True)
class Process:
    """The posterior of a target with mean near 0 and variance near 1, given some of its values.

    theta: log a0, a1, a2, noise, lengthscales. groups: (f,) group of each column. x: (n, f). t: (n,). extra: (n,)
    variances of the rows beyond the common noise.
    """

    theta: np.ndarray
    groups: np.ndarray
    x: np.ndarray
    t: np.ndarray
    extra: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, t: np.ndarray, extra: np.ndarray, groups: np.ndarray, seed: int = 0) -> Self:
        """With the most probable hyperparameters given the rows, or given a fixed part of them if they are many."""
        rows = np.random.default_rng((seed, len(x))).permutation(len(x))[:TUNING_ROWS]
        theta = tuned(x[rows], t[rows], extra[rows], groups)
        return cls(theta=theta, groups=groups, x=x, t=t, extra=extra)

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) means and standard deviations of the noiseless target."""
        across = kernel(self.theta, self.groups, self.x, x)
        solved = solve_triangular(self._factor, across, lower=True, check_finite=False)
        prior = np.exp(self.theta[0]) + np.exp(self.theta[2]) + _linear(self.theta, self.groups) * (x**2).sum(axis=1)
        return across.T @ self._weights, np.sqrt(np.maximum(prior - (solved**2).sum(axis=0), 1e-12))

    @property
    def noise(self) -> float:
        """Variance of one observation about the noiseless target."""
        return float(np.exp(self.theta[3]))

    def draw(self, x: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, n) noiseless targets at x, drawn together: rows that are alike go up and down together."""
        across = kernel(self.theta, self.groups, self.x, x)
        solved = solve_triangular(self._factor, across, lower=True, check_finite=False)
        covariance = kernel(self.theta, self.groups, x, x) - solved.T @ solved
        covariance[np.diag_indices(len(x))] += DRAWING_JITTER
        return across.T @ self._weights + rng.normal(size=(count, len(x))) @ np.linalg.cholesky(covariance).T

    def believing(self, x: np.ndarray) -> Self:
        """As if what is expected at x had been found there (Ginsbourger et al., 2010): trials that still run."""
        if not len(x):
            return self
        mean, _ = self.predict(x)
        rows, targets = np.vstack([self.x, x]), np.concatenate([self.t, mean])
        extra = np.concatenate([self.extra, np.zeros(len(x))])
        return type(self)(theta=self.theta, groups=self.groups, x=rows, t=targets, extra=extra)

    @cached_property
    def _factor(self) -> np.ndarray:
        covariance = kernel(self.theta, self.groups, self.x, self.x)
        covariance[np.diag_indices(len(self.x))] += np.exp(self.theta[3]) + self.extra + JITTER
        return np.linalg.cholesky(covariance)

    @cached_property
    def _weights(self) -> np.ndarray:
        return cho_solve((self._factor, True), self.t, check_finite=False)


def kernel(theta: np.ndarray, groups: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) covariances of rows a: (n, f) and b: (m, f)."""
    lengths = np.exp(theta[len(CENTRE) :])[groups]
    r = np.sqrt(squared_distances(a / lengths, b / lengths))
    return np.exp(theta[0]) + _linear(theta, groups) * (a @ b.T) + np.exp(theta[2]) * matern(r)


def tuned(x: np.ndarray, t: np.ndarray, extra: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Most probable hyperparameters, by L-BFGS from the centre of their prior."""
    count = groups.max() + 1
    middle = np.sqrt(2) + 0.5 * np.log(count)
    centre = np.concatenate([CENTRE, np.full(count, middle)])
    width = np.concatenate([WIDTH, np.full(count, LENGTH_WIDTH)])
    bounds = [(-9.0, 5.0)] * 3 + [(-11.0, 1.0)] + [(-2.0, 9.0)] * count

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = grouped_evidence(theta, groups, x, t, extra)
        away = (theta - centre) / width
        return value + 0.5 * float(away @ away), slope + away / width

    return minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": TUNING_STEPS}).x


def grouped_evidence(
    theta: np.ndarray, groups: np.ndarray, x: np.ndarray, t: np.ndarray, extra: np.ndarray
) -> tuple[float, np.ndarray]:
    """Negative log marginal likelihood and its slope: that of a lengthscale per column, summed over each group."""
    scalars, count = len(CENTRE), groups.max() + 1
    by_column = np.concatenate([theta[:scalars], theta[scalars:][groups]])
    by_column[1] += np.log(len(groups) / count)  # there a1 is over the number of columns
    value, slope = evidence(by_column, x, t, np.ones(len(t)), extra + JITTER)
    return value, np.concatenate([slope[:scalars], np.bincount(groups, slope[scalars:], count)])


def _linear(theta: np.ndarray, groups: np.ndarray) -> float:
    return float(np.exp(theta[1]) / (groups.max() + 1))
