"""Gaussian process regression with a linear and a smooth part, for tens to thousands of rows.

k(x, x') = a0 + a1 x·x'/f + a2 (1 + √5 r + 5r²/3) exp(-√5 r),  r² = Σ_j ((x_j - x'_j) / l_j)²:
an additive law, plus what it misses (Matérn 5/2). Lengthscales have the prior that grows with the number of features
(Hvarfner, Hellsten, Nardi, ICML 2024, arXiv 2402.02229), so that 50 rows with 40 features do not overfit.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve, lapack, solve_triangular
from scipy.optimize import minimize

from evaluators.prediction.scaling import Scaling

EXACT_ROWS = 1500  # above: a regression on INDUCING kernel functions instead of one per row
INDUCING = 800
VARIANCE_ROWS = 400  # rows behind the variance: fewer rows can only make it larger
TUNING_ROWS = 300  # rows behind the hyperparameters
TUNING_STEPS = 60
OUTLIER_ROUNDS = 2
OUTLIER = 4.0  # variances, where nothing else is said
SCALARS = 4  # log a0, a1, a2, noise; then the log lengthscales
JITTER = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Means are kernel(rows, centres) @ weights, linear in the target: weights = factored⁻¹ @ right @ t."""

    centres: np.ndarray
    factored: tuple[np.ndarray, bool]
    right: np.ndarray
    weights: np.ndarray


@dataclass(kw_only=True)
class GaussianProcess:
    """Mean and standard deviation of a standardised target. Hyperparameters are given or tuned by `fit`, from `near`.

    outlier: variances beyond which the leave-one-out error of a row makes that row noisier (None: never), as the
    scale mixture behind Student's t does. `inflation`: how much noisier every row was found, or is known to be.
    """

    theta: np.ndarray | None = None
    near: np.ndarray | None = None
    outlier: float | None = None
    inflation: np.ndarray | None = None
    seed: int = 0
    _scaling: Scaling = field(init=False, repr=False)
    _means: Means = field(init=False, repr=False)
    _rows: tuple[np.ndarray, np.ndarray] = field(init=False, repr=False)
    _kept: np.ndarray = field(init=False, repr=False)
    _factor: np.ndarray = field(init=False, repr=False)

    def fit(self, x: np.ndarray, t: np.ndarray, noise: np.ndarray | None = None) -> Self:
        """x: (n, f) features; t: (n,) target, mean near 0, variance near 1; noise: (n,) relative noise variances."""
        rng = np.random.default_rng(self.seed)
        self._scaling = Scaling.of(x)
        z, noise = self._scaling.apply(x), np.ones(len(x)) if noise is None else noise
        used = self._tune(z, t, noise, _subset(rng, len(z), TUNING_ROWS))
        self._means, self._rows = _solve(self._theta(), z, t, used, rng), (z, t)
        self._kept = _subset(rng, len(z), VARIANCE_ROWS)
        self._factor = np.linalg.cholesky(_noisy(self._theta(), z[self._kept], used[self._kept]))
        return self

    def _tune(self, z: np.ndarray, t: np.ndarray, noise: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Set what was not given: hyperparameters, and inflation in turns with them. Returns the noise to use."""
        tuning = self.theta is None
        if tuning:
            self.theta = tune(z[rows], t[rows], noise[rows], self.near)
        if self.inflation is not None or self.outlier is None or len(z) > EXACT_ROWS:
            return noise if self.inflation is None else noise * self.inflation
        for _ in range(OUTLIER_ROUNDS):
            self.inflation = _inflation(self._theta(), z, t, noise, self.inflation, self.outlier)
            if tuning:
                self.theta = tune(z[rows], t[rows], (noise * self.inflation)[rows], self.theta)
        assert self.inflation is not None
        return noise * self.inflation

    def predict(self, x: np.ndarray) -> np.ndarray:
        """(n,) means."""
        return kernel(self._theta(), self._scaling.apply(x), self._means.centres) @ self._means.weights

    def deviation(self, x: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """(n,) standard deviations of a new observation with that relative noise; larger away from the rows."""
        return np.sqrt(self.variance(x) + self.noise * noise)

    def variance(self, x: np.ndarray) -> np.ndarray:
        """(n,) variances of the mean, without the noise of a measurement."""
        return self._variance(self._scaling.apply(x))

    @property
    def noise(self) -> float:
        """Variance of a measurement whose relative noise variance is 1."""
        return float(np.exp(self._theta()[3]))

    def left_out(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) means of the rows fitted and variances of these means, each from the other folds; nothing is tuned.

        With H the influence of targets on means, a fold's errors are (1 - H_ff)⁻¹ times its residuals.
        """
        (z, t), means = self._rows, self._means
        across, error = kernel(self._theta(), z, means.centres), np.empty(len(t))
        variance = self._variance(z)
        for fold in np.unique(folds):
            held = np.flatnonzero(folds == fold)
            influence = across[held] @ cho_solve(means.factored, means.right[:, held])
            error[held] = np.linalg.solve(np.eye(len(held)) - influence, t[held] - across[held] @ means.weights)
            places = np.flatnonzero(folds[self._kept] == fold)
            variance[self._kept[places]] = self._variance_without(places, z[self._kept[places]])
        return t - error, variance

    def _variance(self, z: np.ndarray) -> np.ndarray:
        """(n,) variances of the mean; those of the kept rows alone, which are larger than those of all."""
        theta, kept = self._theta(), self._rows[0][self._kept]
        solved = solve_triangular(self._factor, kernel(theta, kept, z), lower=True, check_finite=False)
        return np.maximum(_prior_variance(theta, z) - (solved**2).sum(axis=0), 0.0)

    def _variance_without(self, places: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The same at these places among the kept rows, from the kept rows elsewhere."""
        half = solve_triangular(self._factor, np.eye(len(self._kept))[:, places], lower=True, check_finite=False)
        noise = (self._factor[places] ** 2).sum(axis=1) - _prior_variance(self._theta(), z)
        return np.maximum(np.linalg.inv(half.T @ half).diagonal() - noise, 0.0)

    def _theta(self) -> np.ndarray:
        assert self.theta is not None, "fit first"
        return self.theta


def repeatable(x: np.ndarray, t: np.ndarray, noise: np.ndarray, theta: np.ndarray | None) -> GaussianProcess:
    """A process that its theta and the same rows give again bit for bit: outliers are found with the final theta.

    theta: None to tune it.
    """
    if theta is None:
        theta = GaussianProcess(outlier=OUTLIER).fit(x, t, noise).theta
    return GaussianProcess(theta=theta, outlier=OUTLIER).fit(x, t, noise)


def kernel(theta: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) covariances of rows a: (n, f) and b: (m, f)."""
    smooth = matern(_distance(a, b, theta[SCALARS:]))
    return np.exp(theta[0]) + np.exp(theta[1]) / a.shape[1] * (a @ b.T) + np.exp(theta[2]) * smooth


def tune(z: np.ndarray, t: np.ndarray, noise: np.ndarray, near: np.ndarray | None = None) -> np.ndarray:
    """Most probable hyperparameters given the rows, by L-BFGS from the centre of the prior or, shorter, from `near`."""
    centre, width = _prior(z.shape[1])
    bounds = [(-9.0, 5.0)] * 3 + [(-11.0, 1.0)] + [(-2.0, 9.0)] * z.shape[1]
    start = np.clip(centre if near is None else near, *np.transpose(bounds))
    steps = TUNING_STEPS if near is None else TUNING_STEPS // 3

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = evidence(theta, z, t, noise)
        away = (theta - centre) / width
        return value + 0.5 * float(away @ away), slope + away / width

    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps}).x


def _prior(features: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre and width of the normal prior of every log hyperparameter."""
    scalars, widths = [-2.0, 0.0, -1.0, -5.0], [2.0, 1.5, 1.5, 2.0]
    length = np.full(features, np.sqrt(2) + 0.5 * np.log(features))
    return np.concatenate([scalars, length]), np.concatenate([widths, np.full(features, np.sqrt(3))])


def evidence(
    theta: np.ndarray, z: np.ndarray, t: np.ndarray, shares: np.ndarray, extra: np.ndarray | float = JITTER
) -> tuple[float, np.ndarray]:
    """Negative log marginal likelihood and its slope in every log hyperparameter.

    shares: (n,) of the noise in each row. extra: variances beyond it, for all rows or for each.
    """
    n, f = z.shape
    a0, a1, a2, noise = np.exp(theta[:SCALARS])
    lengths = np.exp(theta[SCALARS:])
    r, linear = _distance(z, z, theta[SCALARS:]), z @ z.T / f
    smooth = matern(r)
    covariance = a0 + a1 * linear + a2 * smooth
    covariance[np.diag_indices(n)] += noise * shares + extra
    factor = cho_factor(covariance, lower=True, check_finite=False)
    alpha = cho_solve(factor, t, check_finite=False)
    value = 0.5 * float(t @ alpha) + float(np.log(np.diag(factor[0])).sum())
    slope_k = 0.5 * (_inverse(factor[0]) - np.outer(alpha, alpha))
    # dk/d log l_j = a2 (5/3)(1 + √5 r) exp(-√5 r) (x_j - x'_j)²/l_j²; summed over pairs without an (n, n, f) array
    pairs = slope_k * (a2 * 5 / 3 * (1 + np.sqrt(5) * r) * np.exp(-np.sqrt(5) * r))
    squares = 2 * (pairs.sum(axis=1) @ z**2 - ((pairs @ z) * z).sum(axis=0)) / lengths**2
    scalars = [
        a0 * slope_k.sum(),
        a1 * (slope_k * linear).sum(),
        a2 * (slope_k * smooth).sum(),
        noise * (slope_k.diagonal() @ shares),
    ]
    return value, np.concatenate([scalars, squares])


def _inflation(
    theta: np.ndarray, z: np.ndarray, t: np.ndarray, noise: np.ndarray, before: np.ndarray | None, outlier: float
) -> np.ndarray:
    """(n,) factors of the noise: 1, or more where a row's leave-one-out error is large against its own variance."""
    used = noise if before is None else noise * before
    factor = cho_factor(_noisy(theta, z, used), lower=True)
    inverse = _inverse(factor[0])
    error, variance = inverse @ t / inverse.diagonal(), 1 / inverse.diagonal()
    plain = np.maximum(variance - np.exp(theta[3]) * (used - noise), 1e-12)
    return np.maximum(1.0, error**2 / plain / outlier)


def _solve(theta: np.ndarray, z: np.ndarray, t: np.ndarray, noise: np.ndarray, rng: np.random.Generator) -> Means:
    if len(z) <= EXACT_ROWS:
        factored, right = cho_factor(_noisy(theta, z, noise), lower=True), np.eye(len(z))
        return Means(centres=z, factored=factored, right=right, weights=cho_solve(factored, t))
    centres = z[_subset(rng, len(z), INDUCING)]
    across, within = kernel(theta, z, centres), kernel(theta, centres, centres)
    right = (across / noise[:, None]).T
    system = right @ across + (np.exp(theta[3]) + JITTER) * within
    system[np.diag_indices(len(centres))] += JITTER * system.trace() / len(centres)
    factored = cho_factor(system, lower=True)
    return Means(centres=centres, factored=factored, right=right, weights=cho_solve(factored, right @ t))


def _prior_variance(theta: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.exp(theta[0]) + np.exp(theta[1]) * (z**2).mean(axis=1) + np.exp(theta[2])


def _noisy(theta: np.ndarray, z: np.ndarray, noise: np.ndarray) -> np.ndarray:
    covariance = kernel(theta, z, z)
    covariance[np.diag_indices(len(z))] += np.exp(theta[3]) * noise + JITTER
    return covariance


def _inverse(factor: np.ndarray) -> np.ndarray:
    """Of the matrix with that lower Cholesky factor: a third of the work of solving for the columns of the identity."""
    lower, failed = lapack.dpotri(factor, lower=1)
    assert failed == 0
    return np.tril(lower) + np.tril(lower, -1).T


def _distance(a: np.ndarray, b: np.ndarray, log_lengths: np.ndarray) -> np.ndarray:
    return np.sqrt(squared_distances(a / np.exp(log_lengths), b / np.exp(log_lengths)))


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) squared distances of rows a: (n, f) and b: (m, f)."""
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T, 0.0)


def matern(r: np.ndarray) -> np.ndarray:
    """Matérn 5/2 of distances in lengthscales."""
    return (1 + np.sqrt(5) * r + 5 / 3 * r**2) * np.exp(-np.sqrt(5) * r)


def _subset(rng: np.random.Generator, rows: int, limit: int) -> np.ndarray:
    return np.arange(rows) if rows <= limit else np.sort(rng.permutation(rows)[:limit])
