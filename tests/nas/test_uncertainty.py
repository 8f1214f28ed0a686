"""Probabilities of being dominated against closed forms; several sessions of one network as one value."""

from statistics import NormalDist

import numpy as np
import pytest

from nas.genotype import Atom, Genotype, Stage
from nas.objective import Objective
from nas.trial import Trial
from nas.uncertainty import Z90, dominated_probability, drawn_losses, pooled, undecided

NETWORK = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=16, depth=1),))
OBJECTIVES = (
    Objective(name="accuracy", direction="maximize"),
    Objective(name="latency_ms", direction="minimize"),
)


def trial(number: int, accuracy: float, ms: float, spread: float = 0.0) -> Trial:
    """spread: of the logarithm of its latency, in standard deviations."""
    ends = {"latency_ms": (ms * np.exp(-Z90 * spread), ms * np.exp(Z90 * spread))} if spread else {}
    return Trial(
        number=number, kind="search", name=f"trial {number}", state="complete", genotype=NETWORK, hash=str(number),
        code={}, values={"accuracy": accuracy, "latency_ms": ms}, intervals=ends,
    )  # fmt: skip


def test_draws_have_the_interval_as_their_quantiles():
    costs = drawn_losses([trial(0, 0.9, 2.0, 0.1)], OBJECTIVES)[:, 0]
    assert set(costs[:, 0]) == {-0.9}
    assert np.quantile(costs[:, 1], [0.05, 0.5, 0.95]) == pytest.approx(
        2 * np.exp(np.array([-Z90, 0, Z90]) * 0.1), rel=0.03
    )


@pytest.mark.parametrize("ratio", [0.9, 1.0, 1.05, 1.3])
def test_two_networks_agree_with_the_normal_distribution(ratio):
    better, worse = trial(1, 0.9, ratio, 0.1), trial(2, 0.8, 1.0, 0.05)
    beaten = dominated_probability([better, worse], OBJECTIVES)
    closed = NormalDist().cdf(-np.log(ratio) / np.hypot(0.1, 0.05))
    assert beaten[2] == pytest.approx(closed, abs=0.05)
    assert beaten[1] == 0


def test_without_intervals_the_front_is_as_found():
    trials = [trial(0, 0.9, 2.0), trial(1, 0.8, 3.0), trial(2, 0.7, 1.0)]
    assert dominated_probability(trials, OBJECTIVES) == {0: 0.0, 1: 1.0, 2: 0.0}
    assert dominated_probability([], OBJECTIVES) == {}


def test_leaving_out_who_is_always_beaten_changes_nothing():
    rng = np.random.default_rng(0)
    trials = [trial(i, float(rng.uniform()), float(rng.uniform(1, 2)), 0.1) for i in range(25)]
    drawn = drawn_losses(trials, OBJECTIVES)
    beaten = [
        np.mean([any((d[j] <= d[i]).all() and (d[j] < d[i]).any() for j in range(25)) for d in drawn[:60]])
        for i in range(25)
    ]
    found = dominated_probability(trials, OBJECTIVES)
    assert [found[i] for i in range(25)] == pytest.approx(beaten, abs=0.2)
    assert [found[i] for i in range(25) if beaten[i] in (0.0, 1.0)] == pytest.approx(
        [b for b in beaten if b in (0.0, 1.0)], abs=0.1
    )


def test_only_pairs_that_could_swap_are_undecided():
    trials = [trial(0, 0.9, 1.0, 0.05), trial(1, 0.8, 1.02, 0.05), trial(2, 0.7, 3.0, 0.05), trial(3, 0.6, 0.2, 0.05)]
    assert undecided(trials, OBJECTIVES) == {0, 1}
    assert undecided(trials[2:], OBJECTIVES) == set()


def test_sessions_that_agree_narrow_the_interval_like_independent_measurements():
    value, low, high = pooled([(1.0, 0.9, 1 / 0.9)] * 4)
    assert value == pytest.approx(1.0)
    assert np.log(high / low) == pytest.approx(np.log(1 / 0.81) / 2)
    assert pooled([(1.0, 0.9, 1.3)]) == (1.0, 0.9, 1.3)


def test_sessions_that_disagree_widen_it_by_the_birge_ratio():
    spread = 0.01
    two = [(m, m * np.exp(-Z90 * spread), m * np.exp(Z90 * spread)) for m in (1.0, 1.1)]
    value, low, high = pooled(two)
    gap = np.log(1.1) / 2
    assert value == pytest.approx(np.sqrt(1.1))
    assert np.log(high / low) == pytest.approx(2 * Z90 * gap)  # sqrt(2 gap²/s²) x s / sqrt(2)
    assert low < 1.0 < 1.1 < high
