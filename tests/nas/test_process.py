"""The Gaussian process against scikit-learn's, its slopes against differences, its intervals against held-out rows."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern

from nas.samplers.judge import Model
from nas.samplers.observations import Observations
from nas.samplers.process import JITTER, Process, grouped_evidence, kernel

GROUPS = np.array([0, 1, 1])
THETA = np.log([0.3, 0.6, 0.8, 0.05, 0.7, 1.9])


def rows(count, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, 3))
    return x, np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]


def test_the_posterior_is_that_of_scikit_learn():
    (x, t), (new, _) = rows(25), rows(10, seed=1)
    process = Process(theta=THETA, groups=GROUPS, x=x, t=t, extra=np.zeros(25))
    linear = ConstantKernel(0.6 / 2, "fixed") * DotProduct(0.0, "fixed")
    smooth = ConstantKernel(0.8, "fixed") * Matern([0.7, 1.9, 1.9], "fixed", nu=2.5)
    other = GaussianProcessRegressor(ConstantKernel(0.3, "fixed") + linear + smooth, alpha=0.05, optimizer=None)
    mean, deviation = other.fit(x, t).predict(new, return_std=True)
    assert process.predict(new)[0] == pytest.approx(mean, abs=1e-3)
    assert process.predict(new)[1] == pytest.approx(deviation, abs=1e-3)


def test_slopes_of_the_evidence_are_those_of_differences():
    x, t = rows(20)
    given = (GROUPS, x, t, np.full(20, 0.01))
    slope = approx_fprime(THETA, lambda theta: grouped_evidence(theta, *given)[0], 1e-6)
    assert grouped_evidence(THETA, *given)[1] == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_the_evidence_is_that_of_a_normal_distribution():
    x, t = rows(12)
    extra = np.linspace(0, 1, 12)
    covariance = kernel(THETA, GROUPS, x, x) + np.diag(np.exp(THETA[3]) + extra + JITTER)
    expected = -multivariate_normal(cov=covariance).logpdf(t) - 6 * np.log(2 * np.pi)
    assert grouped_evidence(THETA, GROUPS, x, t, extra)[0] == pytest.approx(expected)


def test_nine_of_ten_held_out_values_lie_in_their_intervals():
    rng, inside = np.random.default_rng(0), []
    for seed in range(5):
        (x, t), (new, truth) = rows(60, seed), rows(200, seed + 50)
        process = Process.fit(x, (t + 0.1 * rng.normal(size=60)) / 1.2, np.zeros(60), GROUPS)
        mean, deviation = process.predict(new)
        inside += (np.abs(mean - truth / 1.2) < 1.645 * deviation).tolist()
    assert 0.82 < np.mean(inside) < 0.97


def test_draws_have_the_covariance_of_the_posterior():
    (x, t), (new, _) = rows(25), rows(3, seed=1)
    process = Process(theta=THETA, groups=GROUPS, x=x, t=t, extra=np.zeros(25))
    before, across = kernel(THETA, GROUPS, new, new), kernel(THETA, GROUPS, x, new)
    seen = kernel(THETA, GROUPS, x, x) + 0.05 * np.eye(25)
    after = before - across.T @ np.linalg.solve(seen, across)
    draws = process.draw(new, 40_000, np.random.default_rng(0))
    assert draws.mean(axis=0) == pytest.approx(process.predict(new)[0], abs=0.02)
    assert np.cov(draws.T) == pytest.approx(after, abs=0.02)


def test_what_trials_observe_scatters_by_the_noise_about_the_truth():
    (x, t), (new, _) = rows(25), rows(3, seed=1)
    seen = Observations(trials=(), t=t, extra=np.zeros(25), middle=-0.5, size=0.1, far=0.0)
    model = Model(process=Process(theta=THETA, groups=GROUPS, x=x, t=t, extra=np.zeros(25)), seen=seen)
    true, observed = (draw(new, 40_000, np.random.default_rng(0)) for draw in (model.draw, model.draw_observed))
    assert observed.mean(axis=0) == pytest.approx(true.mean(axis=0), abs=1e-3)
    assert observed.var(axis=0) == pytest.approx(true.var(axis=0) + 0.1**2 * 0.05, rel=0.03)
    assert model.observed(new)[1] == pytest.approx(observed.std(axis=0), rel=0.03)


def test_accuracies_counted_on_few_pictures_scatter_by_that_as_well():
    (x, t), (new, _) = rows(25), rows(3, seed=1)
    process = Process(theta=THETA, groups=GROUPS, x=x, t=t, extra=np.zeros(25))
    seen = Observations(trials=(), t=t, extra=np.zeros(25), middle=-0.5, size=0.1, far=0.0)
    plain, counted = (Model(process=process, seen=seen, pictures=n) for n in (None, 50))
    mean, deviation = counted.observed(new)
    share = (-50 * mean + 2) / 54
    assert deviation**2 - plain.observed(new)[1] ** 2 == pytest.approx(share * (1 - share) / 50)
    assert counted.predict(new)[1] == pytest.approx(plain.predict(new)[1])


def test_what_is_believed_leaves_means_and_narrows_deviations():
    x, t = rows(15)
    process, new = Process(theta=THETA, groups=GROUPS, x=x, t=t, extra=np.zeros(15)), rows(4, seed=2)[0]
    believing = process.believing(new[:1])
    assert believing.predict(new)[0] == pytest.approx(process.predict(new)[0], abs=1e-3)
    assert believing.predict(new)[1][0] < 0.5 * process.predict(new)[1][0]
    assert (believing.predict(new)[1] <= process.predict(new)[1] + 1e-9).all()


def test_a_row_of_doubtful_value_moves_the_mean_less():
    x, t = rows(10)
    plain, doubted = (
        Process(theta=THETA, groups=GROUPS, x=x, t=t + 3 * (np.arange(10) == 0), extra=extra * (np.arange(10) == 0))
        for extra in (0.0, 4.0)
    )
    assert plain.predict(x[:1])[0] > doubted.predict(x[:1])[0] + 1
