"""The gate: partial tau against its formula and a regression of pairs; noise is refused, what is true passes."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from evaluators.zero_cost.gate import LEAST_TRIALS, judge
from evaluators.zero_cost.partial_tau import pair_signs, partial_of, partial_tau, sign_products, unexplained


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def columns(rng, n=40):
    """Accuracy and a score that depend on two sizes, with ties."""
    sizes = rng.normal(size=(2, n)).round(1)
    return sizes.sum(0) + rng.normal(size=n), sizes[0] + rng.normal(size=n).round(1), *sizes


def test_without_covariates_it_is_kendalls_tau_b(rng):
    x, y, *_ = columns(rng)
    assert partial_tau(x, y) == pytest.approx(kendalltau(x, y).statistic)


def test_it_is_the_ratio_of_entries_of_the_inverse_of_all_taus(rng):
    found = columns(rng)
    precision = np.linalg.inv([[kendalltau(a, b).statistic for b in found] for a in found])
    expected = -precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
    assert partial_tau(found[0], found[1], found[2:]) == pytest.approx(expected)


def test_given_one_covariate_it_is_kendalls_own_formula(rng):
    x, y, z, _ = columns(rng)
    xy, xz, yz = (kendalltau(a, b).statistic for a, b in ((x, y), (x, z), (y, z)))
    assert partial_tau(x, y, [z]) == pytest.approx((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)))


def test_it_is_the_correlation_of_what_regressions_on_pairs_leave(rng):
    found = columns(rng)
    x, y, *given = (np.sign(np.subtract.outer(c, c)).ravel() for c in found)
    left = [v - (g := np.stack(given, 1)) @ np.linalg.lstsq(g, v, rcond=None)[0] for v in (x, y)]
    expected = left[0] @ left[1] / np.linalg.norm(left[0]) / np.linalg.norm(left[1])
    assert partial_tau(found[0], found[1], found[2:]) == pytest.approx(expected)


def test_a_covariate_twice_or_constant_changes_nothing(rng):
    x, y, z, _ = columns(rng)
    assert partial_tau(x, y, [z, 2 * z, np.ones_like(z)]) == pytest.approx(partial_tau(x, y, [z]))


def test_a_score_that_follows_from_a_covariate_has_none(rng):
    x, y, z, _ = columns(rng)
    assert partial_tau(x, np.exp(z), [z]) is None
    assert partial_tau(x, np.ones_like(y)) is None


def test_weights_count_rows_as_often_as_they_say(rng):
    x, y, z, _ = columns(rng, 12)
    counts = rng.multinomial(12, np.full(12, 1 / 12))
    repeated = [np.repeat(c, counts) for c in (x, y, z)]
    weighted = partial_of(sign_products(pair_signs([x, y, z]), counts[None].astype(float))[0])
    assert weighted == pytest.approx(partial_tau(repeated[0], repeated[1], repeated[2:]))


def test_nothing_of_a_smooth_function_of_the_sizes_is_left_over(rng):
    x, _, z, other = columns(rng)
    ranks = z.argsort().argsort()
    assert np.abs(unexplained((ranks - 20.0) ** 3, [ranks])).max() < 2
    left = unexplained(x, [z, other])
    assert abs(np.corrcoef(left, kendall_ranks(z))[0, 1]) < 1e-4


def kendall_ranks(column):
    return np.sign(np.subtract.outer(column, column)).sum(axis=1)


def campaign(rng, n=80):
    """Sizes, accuracies that depend on them and on a quality that no size shows, and scores of several worths."""
    params, macs, depth, quality = rng.normal(size=(4, n))
    accuracy = params + quality + 0.3 * rng.normal(size=n)
    scores = {"true": quality + rng.normal(size=n), "noise": rng.normal(size=n), "size": np.exp(params)}
    scores |= {"wrong": -scores["true"], "detector": params + 0.5 * rng.normal(size=n)}
    return {"params": params, "macs": macs, "depth": depth.round(), **scores}, accuracy


def test_a_true_score_is_used_and_a_noise_score_refused(rng):
    values, accuracy = campaign(rng)
    true, noise = (judge(name, values, accuracy) for name in ("true", "noise"))
    assert true.used
    assert 0 < true.interval[0] < true.partial < true.interval[1]
    assert 0 < true.rest_interval[0] < true.rest < true.rest_interval[1]
    assert not noise.used


def test_a_score_that_only_measures_size_is_refused_however_well_it_ranks(rng):
    values, accuracy = campaign(rng)
    detector, size = (judge(name, values, accuracy) for name in ("detector", "size"))
    assert detector.tau > 0.3
    assert detector.interval[0] > 0  # noisy copies of one size agree even given it; what is left tells them apart
    assert (detector.used, detector.reason[:14]) == (False, "may be chance:")
    assert (size.used, size.partial, size.reason) == (False, None, "it follows from the sizes")


def test_a_score_of_the_wrong_sign_is_refused(rng):
    verdict = judge("wrong", *campaign(rng))
    assert verdict.interval[1] < 0
    assert (verdict.used, verdict.reason) == (False, "nothing, or less, beyond size")


def test_a_size_is_judged_given_the_two_others(rng):
    values, accuracy = campaign(rng)
    verdict = judge("params", values, accuracy)
    assert verdict.used
    assert verdict.partial == pytest.approx(partial_tau(values["params"], accuracy, [values["macs"], values["depth"]]))
    assert verdict.reason == "positive given macs, depth"


def test_too_few_trials_and_a_constant_score_are_said(rng):
    values, accuracy = campaign(rng)
    values["rare"] = [1.0] * (LEAST_TRIALS - 1) + [None] * 61
    values["constant"] = [2.0] * 80
    assert judge("rare", values, accuracy).reason == f"only 19 trials have it; at least {LEAST_TRIALS} are needed"
    assert "same in all trials" in judge("constant", values, accuracy).reason


def test_trials_without_the_score_are_left_out(rng):
    values, accuracy = campaign(rng)
    cut = {name: column[:50] for name, column in values.items()}
    values["true"] = [*values["true"][:50], *[None] * 30]
    assert judge("true", values, accuracy) == judge("true", cut, accuracy[:50])


def test_judging_is_repeatable(rng):
    values, accuracy = campaign(rng)
    assert judge("noise", values, accuracy, seed=4) == judge("noise", values, accuracy, seed=4)
