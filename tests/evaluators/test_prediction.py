"""Predictors of costs: laws they must find, intervals that must hold, files that must give the same answers."""

import json

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from evaluators.prediction import FewShot, StackedRegression, TransferredRegression, score
from evaluators.prediction.gaussian_process import GaussianProcess, evidence, kernel, tune
from evaluators.prediction.members import ExtraTrees, LinearScaleProcess, LogRidge, RobustProcess
from evaluators.prediction.ridge import Ridge
from evaluators.prediction.stack import MEMBERS
from evaluators.prediction.stack import _weights as shares_of
from evaluators.prediction.trees import Trees

QUICK = ("robust_process", "ridge", "extra_trees")


def additive(rows: int, seed: int, noise: float = 0.0, parts: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Counts of parts with a price each, and the price of the whole; noise in proportion to it."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 8, size=(rows, parts)).astype(float)
    price = 2.0 + x @ np.linspace(0.2, 3.0, parts)
    return x, price * np.exp(noise * rng.standard_normal(rows))


@pytest.fixture(scope="module")
def fitted() -> StackedRegression:
    return StackedRegression().fit(*additive(100, 0, noise=0.05))


def test_an_additive_law_is_recovered_from_forty_rows():
    x, y = additive(400, 1)
    found = StackedRegression(QUICK).fit(x[:40], y[:40]).predict(x[40:])
    assert np.abs(found.mean / y[40:] - 1).max() < 0.02


def test_a_product_of_factors_is_found_too():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 2, size=(400, 3))
    y = np.exp(x @ [0.5, 1.0, -0.7])
    found = StackedRegression(("robust_process", "log_process")).fit(x[:80], y[:80]).predict(x[80:])
    assert score(found.mean, y[80:]).rmspe < 1.5


def test_intervals_hold_nine_in_ten_new_measurements(fitted: StackedRegression):
    x, y = additive(4000, 2, noise=0.05)
    found = fitted.predict(x)
    assert 0.85 <= np.mean((found.low <= y) & (y <= found.high)) <= 0.97


def test_intervals_are_about_as_wide_as_the_noise(fitted: StackedRegression):
    found = fitted.predict(additive(500, 3)[0])
    width = np.median(np.log(found.high / found.low))
    assert width == pytest.approx(2 * norm.ppf(0.95) * 0.05, rel=0.35)


def test_intervals_widen_away_from_the_rows(fitted: StackedRegression):
    near, far = fitted.predict(np.full((1, 6), 4.0)), fitted.predict(np.full((1, 6), 40.0))
    assert np.log(far.high / far.low)[0] > 1.3 * np.log(near.high / near.low)[0]


def test_a_row_beyond_the_rows_learnt_from_is_flagged(fitted: StackedRegression):
    assert fitted.outside(np.array([[4.0] * 6, [4.0] * 5 + [9.0], [4.0] * 5 + [7.5]])).tolist() == [False, True, False]


@pytest.mark.parametrize("key", ["x", "quantiles", "members"])
def test_a_damaged_file_is_refused_with_the_place(fitted: StackedRegression, key: str):
    data = {name: value for name, value in fitted.to_json().items() if name != key}
    with pytest.raises(ValueError, match=f"damaged at '{key}'"):
        StackedRegression.from_json(data)


def test_a_file_of_another_format_is_refused(fitted: StackedRegression):
    with pytest.raises(ValueError, match="format 99 is unknown"):
        StackedRegression.from_json(fitted.to_json() | {"format": 99})


def test_a_file_gives_equal_predictions(fitted: StackedRegression):
    x = additive(50, 4)[0]
    again = StackedRegression.from_json(json.loads(json.dumps(fitted.to_json())))
    for name in ("mean", "low", "high"):
        np.testing.assert_array_equal(getattr(again.predict(x), name), getattr(fitted.predict(x), name))


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_survives_a_file(name: str):
    x, y = additive(30, 5, noise=0.1)
    made = MEMBERS[name]().fit(x, y)
    again = MEMBERS[name]().restored(json.loads(json.dumps(made.state())), x, y)
    np.testing.assert_array_equal(again.predict(x), made.predict(x))


def test_weights_are_shares_that_sum_to_one(fitted: StackedRegression):
    assert sum(fitted.weights.values()) == pytest.approx(1)
    assert min(fitted.weights.values()) > 0


def test_members_that_agree_keep_their_usual_shares():
    y = np.random.default_rng(14).uniform(1, 2, 30)
    costs = dict.fromkeys(MEMBERS, 1.1 * y)
    usual = dict.fromkeys(MEMBERS, 0.1) | {"robust_process": 0.7}
    assert shares_of(costs, y) == pytest.approx(usual, abs=1e-3)


def test_a_member_that_is_right_gets_nearly_all():
    rng = np.random.default_rng(15)
    y = rng.uniform(1, 2, 30)
    costs = {name: y * np.exp((0.01 if name == "ridge" else 0.3) * rng.standard_normal(30)) for name in MEMBERS}
    assert shares_of(costs, y)["ridge"] > 0.95


def test_one_slow_spell_does_not_move_the_robust_process():
    x, clean = additive(60, 6, noise=0.01)
    y = clean.copy()
    y[::10] *= 2.0
    errors = [score(m().fit(x, y).predict(x), clean).rmspe for m in (LinearScaleProcess, RobustProcess)]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("y", [np.zeros(20), np.full(20, np.nan), np.ones(19)])
def test_costs_that_cannot_be_learnt_are_refused(y: np.ndarray):
    with pytest.raises(ValueError, match="costs"):
        StackedRegression(QUICK).fit(np.ones((20, 2)), y)


def test_too_few_rows_are_refused_with_the_number_needed():
    with pytest.raises(ValueError, match=r"3 measurements are too few.*at least 8"):
        StackedRegression(QUICK).fit(*additive(3, 0))


def test_equal_costs_are_predicted_as_they_are():
    found = StackedRegression(QUICK).fit(additive(20, 7)[0], np.full(20, 3.0)).predict(additive(5, 8)[0])
    np.testing.assert_allclose(found.mean, 3.0, rtol=1e-6)


def test_the_evidence_of_a_process_is_that_of_a_normal_distribution():
    rng = np.random.default_rng(0)
    z, t, theta = rng.standard_normal((12, 3)), rng.standard_normal(12), rng.normal(0, 0.3, 7)
    covariance = kernel(theta, z, z) + (np.exp(theta[3]) + 1e-8) * np.eye(12)
    expected = -multivariate_normal(cov=covariance).logpdf(t) - 6 * np.log(2 * np.pi)
    assert evidence(theta, z, t, np.ones(12))[0] == pytest.approx(expected)


def test_the_slope_of_the_evidence_is_its_finite_difference():
    rng = np.random.default_rng(1)
    z, t, theta, noise = (
        rng.standard_normal((10, 2)),
        rng.standard_normal(10),
        rng.normal(0, 0.3, 6),
        rng.uniform(1, 3, 10),
    )
    step = 1e-6 * np.eye(6)
    difference = [(evidence(theta + s, z, t, noise)[0] - evidence(theta - s, z, t, noise)[0]) / 2e-6 for s in step]
    np.testing.assert_allclose(evidence(theta, z, t, noise)[1], difference, rtol=1e-5, atol=1e-6)


def test_many_rows_agree_with_the_exact_process(monkeypatch: pytest.MonkeyPatch):
    x, y = additive(300, 9)
    t = (y - y.mean()) / y.std()
    theta = tune((x - x.mean(0)) / x.std(0), t, np.ones(300))
    exact = GaussianProcess(theta=theta).fit(x, t).predict(x)
    monkeypatch.setattr("evaluators.prediction.gaussian_process.EXACT_ROWS", 100)
    np.testing.assert_allclose(GaussianProcess(theta=theta).fit(x, t).predict(x), exact, atol=0.02)


@pytest.mark.parametrize("exact", [1500, 60])
def test_costs_left_out_are_those_of_a_fit_without_them(exact: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("evaluators.prediction.gaussian_process.EXACT_ROWS", exact)
    monkeypatch.setattr("evaluators.prediction.gaussian_process._subset", lambda rng, rows, limit: np.arange(80))
    x, y = additive(80, 12, noise=0.1)
    t, noise, folds = (y - y.mean()) / y.std(), y / y.mean(), np.arange(80) % 4
    made = GaussianProcess().fit(x, t, noise)
    z = made._scaling.apply(x)
    means, variances = made.left_out(folds)
    for held, others in ((folds == f, folds != f) for f in range(4)):
        across = kernel(made.theta, z[held], z[others])
        inverse = np.linalg.inv(kernel(made.theta, z[others], z[others]) + np.diag(made.noise * noise[others]))
        prior = kernel(made.theta, z[held], z[held]).diagonal()
        np.testing.assert_allclose(means[held], across @ inverse @ t[others], atol=2e-3)
        np.testing.assert_allclose(variances[held], prior - ((across @ inverse) * across).sum(1), atol=1e-5)


def test_trees_on_what_the_additive_model_leaves_find_a_step():
    x, price = additive(400, 13, parts=2)
    y = price * np.where((x[:, 0] > 4) == (x[:, 1] > 4), 1.2, 1.0)
    errors = [score(m().fit(x[:300], y[:300]).predict(x[300:]), y[300:]).rmspe for m in (LogRidge, ExtraTrees)]
    assert errors[1] < 0.5 * errors[0]


def test_trees_as_arrays_predict_what_scikit_learn_predicts():
    from sklearn.ensemble import ExtraTreesRegressor

    x, y = additive(80, 10, noise=0.2)
    theirs = ExtraTreesRegressor(40, max_features=0.5, min_samples_leaf=2, random_state=0).fit(x, y)
    new = additive(200, 11)[0] + 0.3
    np.testing.assert_allclose(Trees.extra(x, y).predict(new), theirs.predict(new))


def test_ridge_without_strength_is_least_squares(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("evaluators.prediction.ridge.STRENGTHS", np.array([1e-9]))
    x, y = np.random.default_rng(2).standard_normal((40, 3)), np.random.default_rng(3).standard_normal(40)
    design = np.column_stack([np.ones(40), x])
    np.testing.assert_allclose(Ridge.fit(x, y).predict(x), design @ np.linalg.lstsq(design, y)[0], atol=1e-6)


def devices(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Networks, their costs on three devices, and on a fourth whose prices lie between those of the three."""
    x = np.random.default_rng(seed).integers(0, 8, size=(rows, 6)).astype(float)
    prices = np.random.default_rng(0).uniform(0.2, 3.0, size=(6, 3))
    return x, 2 + x @ prices, 5 * (2 + x @ (prices @ [0.6, 0.3, 0.1]))


def test_ten_measurements_are_enough_for_a_device_like_the_known():
    x, sources, y = devices(300, 1)
    few = FewShot.of(sources, x)
    rows = few.choose(sources, x, 10)
    found = few.fit(sources[rows], x[rows], y[rows]).predict(sources, x)
    assert len(set(rows)) == 10
    assert score(found.mean, y).rmspe < 2
    assert np.mean((found.low <= y) & (y <= found.high)) >= 0.85


def test_a_transferred_learner_survives_a_file():
    x, sources, y = devices(80, 2)
    learners = {str(i): StackedRegression(QUICK).fit(x[:40], sources[:40, i]) for i in range(3)}
    made = TransferredRegression(learners, x[:40])
    rows = made.choose(x, 8)
    made.fit(x[rows], y[rows])
    again = TransferredRegression.from_json(json.loads(json.dumps(made.to_json())))
    np.testing.assert_allclose(again.predict(x).high, made.predict(x).high, rtol=1e-12)
    assert score(made.predict(x).mean, y).spearman > 0.98


def test_one_measurement_of_a_new_device_is_too_few():
    x, sources, y = devices(40, 3)
    learner = TransferredRegression({"known": StackedRegression(("ridge",)).fit(x, sources[:, 0])}, x)
    with pytest.raises(ValueError, match="1 measurements of a new device"):
        learner.fit(x[:1], y[:1])


def test_three_measurements_rank_networks_by_one_known_device():
    x, _, y = devices(100, 4)
    learner = TransferredRegression({"known": StackedRegression(("ridge",)).fit(x, y / 7)}, x)
    rows = learner.choose(x, 3)
    assert score(learner.fit(x[rows], y[rows]).predict(x).mean, y).spearman > 0.95


def test_scores_of_a_known_error():
    measured = np.array([1.0, 2.0, 4.0, 8.0])
    found = score(measured * [1.04, 0.92, 1.2, 1.0], measured)
    assert (found.within_5, found.within_10, found.spearman) == (0.5, 0.75, 1.0)
    assert found.rmspe == pytest.approx(100 * np.sqrt((0.04**2 + 0.08**2 + 0.2**2) / 4))
