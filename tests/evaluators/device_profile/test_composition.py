"""From units to networks: sums worked out one by one, ratios and peaks that follow a known law."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators.device_profile.composition import Composition, Ledger, Sums, latency_sums
from evaluators.device_profile.features import unit_cost
from evaluators.device_profile.memory_model import MemoryModel
from evaluators.device_profile.unit_model import UnitModel
from evaluators.device_profile.units import Placed
from tests.evaluators.device_profile.made_up import digits, kept_mb, network_ms, profile, records, unit_ms

NOISE = 0.03


@pytest.fixture(scope="module")
def model():
    """Knows the units of these networks without noise."""
    units = list({p.unit for s in digits(20) for p in s.units()})
    return UnitModel().fit(units, np.array([unit_ms(u) for u in units]))


def made_up_sums(count: int, seed: int) -> tuple[Sums, np.ndarray]:
    """Networks that take exp(0.2 x) times their sum, and noise."""
    rng = np.random.default_rng(seed)
    x, total = rng.normal(size=(count, 3)), np.exp(rng.normal(size=count))
    cost = total * np.exp(0.2 * x[:, 0] + NOISE * rng.normal(size=count))
    return Sums(total=total, deviation=np.full(count, 1e-3), x=x), cost


def peak_mb(placed: list[Placed]) -> float:
    return sum(p.times * (4 * 4e-6 * unit_cost(p.unit).params + 1.2 * kept_mb(p.unit)) for p in placed)


def test_sums_are_those_of_a_loop(model):
    placed = [s.units() for s in digits(20)]
    sums = latency_sums(Ledger.of(placed, model))
    by_hand = [sum(p.times * unit_ms(p.unit) for p in network) for network in placed]
    np.testing.assert_allclose(sums.total, by_hand, rtol=1e-9)


def test_costs_of_a_ledger_are_those_of_the_networks(model):
    placed = [s.units() for s in digits(5)]
    for row, network in zip(Ledger.of(placed, model).costs(), placed, strict=True):
        by_hand = np.sum([np.array(unit_cost(p.unit)) * p.times for p in network], axis=0)
        assert row.tolist() == [*by_hand, sum(p.times for p in network)]


def test_the_ratio_is_learnt_and_intervals_hold_nine_of_ten():
    composition = Composition().fit(*made_up_sums(120, 0))
    sums, cost = made_up_sums(400, 1)
    found = composition.predict(sums)
    assert np.sqrt(np.mean(np.log(found.mean / cost) ** 2)) < 1.2 * NOISE
    assert 0.85 <= np.mean((found.low <= cost) & (cost <= found.high)) <= 0.95


def test_intervals_are_wider_where_units_are_uncertain():
    composition = Composition().fit(*made_up_sums(60, 0))
    sums, _ = made_up_sums(10, 1)
    unsure = Sums(total=sums.total, deviation=np.full(10, 0.3), x=sums.x)
    width, wider = (np.log(p.high / p.low) for p in map(composition.predict, (sums, unsure)))
    assert (wider > 3 * width).all()


def test_too_few_networks_leave_the_sum_with_a_wide_interval():
    found = Composition().fit(*made_up_sums(4, 0)).predict(made_up_sums(10, 1)[0])
    np.testing.assert_array_equal(found.mean, made_up_sums(10, 1)[0].total)
    assert (found.high / found.low > 1.3).all()


def test_state_of_a_composition_gives_the_same_predictions():
    first = Composition().fit(*made_up_sums(50, 0))
    second = Composition().fit(*made_up_sums(50, 0), first.state())
    sums, _ = made_up_sums(20, 1)
    np.testing.assert_array_equal(first.predict(sums).high, second.predict(sums).high)


def test_networks_never_seen_are_predicted():
    others = [s for s in digits(90, seed=4) if s not in digits(90)]
    found = profile().estimate(others, [s.units() for s in others])
    truth, known = np.array([network_ms(s.units()) for s in others]), ~found.outside
    assert known.mean() > 0.9
    assert np.sqrt(np.mean((found.mean / truth - 1)[known] ** 2)) < 0.05
    assert 0.85 <= np.mean((found.low <= truth) & (truth <= found.high)) <= 0.99


def test_peaks_that_follow_weights_and_what_is_kept_are_recovered():
    known = records(digits(40))
    pairs = [(replace(n, memory={"training": peak_mb(n.subject.units())}), n.subject.units()) for n in known.networks]
    model = MemoryModel(batch=1).fit(known.units, pairs[:30])
    held = pairs[30:]
    found = model.predict([placed for _, placed in held], "training", 1)
    np.testing.assert_allclose(found.mean, [r.memory["training"] for r, _ in held], rtol=0.1)


def test_what_is_kept_grows_with_the_batch_and_weights_do_not():
    known = records(digits(30))
    model = MemoryModel(batch=1).fit(known.units, [(n, n.subject.units()) for n in known.networks])
    one, many, lots = (model.predict([digits(1)[0].units()], "training", batch).mean[0] for batch in (1, 1001, 2001))
    assert one < many < lots
    assert (lots - many) / (many - one) == pytest.approx(1, rel=0.2)
