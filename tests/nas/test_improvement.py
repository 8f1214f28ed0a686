"""Expected hypervolume improvement against hypervolumes counted by moocore, averaged over drawn values."""

import moocore
import numpy as np
import pytest
from scipy.stats import norm

from nas.samplers.improvement import expected_improvement, spread_improvement


def volume(rows, reference):
    return moocore.hypervolume(np.atleast_2d(rows), ref=reference) if len(rows) else 0.0


def drawn_improvement(front, mean, deviation, costs, reference, draws=4000):
    """Mean gain over evenly spaced quantiles of the learned loss."""
    values = norm.ppf((np.arange(draws) + 0.5) / draws, mean, max(deviation, 1e-12))
    before = volume(front, reference)
    gains = [volume(np.vstack([front, [v, *costs]]), reference) - before for v in values]
    return float(np.mean(gains))


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_it_is_the_mean_gain_in_hypervolume(objectives):
    rng = np.random.default_rng(objectives)
    front, reference = rng.random((8, objectives)), np.full(objectives, 0.9)
    mean, deviation, costs = rng.random(6), rng.uniform(0.05, 0.3, 6), rng.random((6, objectives - 1))
    found = expected_improvement(front, mean, deviation, costs, reference)
    for i in range(6):
        drawn = drawn_improvement(front, mean[i], deviation[i], costs[i], reference)
        assert found[i] == pytest.approx(drawn, rel=0.01, abs=1e-4)


def test_a_certain_value_gains_exactly_its_hypervolume():
    rng = np.random.default_rng(0)
    front, rows, reference = rng.random((9, 3)), rng.random((20, 3)), np.ones(3)
    found = expected_improvement(front, rows[:, 0], np.zeros(20), rows[:, 1:], reference)
    exact = [volume(np.vstack([front, row]), reference) - volume(front, reference) for row in rows]
    assert found == pytest.approx(exact)


def test_nothing_is_gained_beyond_the_reference():
    front = np.array([[0.5, 0.5]])
    assert expected_improvement(front, np.zeros(1), np.zeros(1), np.array([[1.2]]), np.ones(2)) == [0.0]


def test_without_a_front_the_whole_box_is_gained():
    found = expected_improvement(np.empty((0, 2)), np.array([0.25]), np.zeros(1), np.array([[0.5]]), np.ones(2))
    assert found == pytest.approx(0.75 * 0.5)


def test_predicted_costs_are_averaged_over_their_spread():
    front, reference = np.array([[0.8, 0.3], [0.2, 0.9]]), np.array([1.0, 2.0])
    costs = np.exp(norm.ppf((np.arange(2000) + 0.5) / 2000, np.log(0.5), 0.3))[:, None]
    each = expected_improvement(front, np.full(2000, 0.5), np.full(2000, 0.1), costs, reference)
    one = [np.array([v]) for v in (0.5, 0.1)]
    found = spread_improvement(front, *one, np.array([[0.5]]), np.array([[0.3]]), reference)
    assert found[0] == pytest.approx(each.mean(), rel=0.05)
