"""The model of units on devices whose law is known."""

import numpy as np
import pytest

from evaluators.device_profile.unit_model import UnitModel, by_family
from evaluators.device_profile.units import Unit
from tests.evaluators.device_profile.made_up import digits, drawn, unit_ms

NOISE = 0.02


def units(seed: int, count: int) -> list[Unit]:
    return list(dict.fromkeys(p.unit for s in digits(count, seed) for p in s.units()))


def measured(some: list[Unit]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([unit_ms(u) for u in some]) * np.exp(NOISE * rng.normal(size=len(some)))


@pytest.fixture(scope="module")
def model():
    return UnitModel().fit(units(0, 40), measured(units(0, 40)))


def test_units_never_measured_are_recovered_within_a_few_times_the_noise():
    model = UnitModel().fit(units(0, 120), measured(units(0, 120)))
    others = [u for u in units(1, 120) if u not in model.known]
    ms, deviation = model.predict(others)
    error = np.log(ms / [unit_ms(u) for u in others])
    assert len(others) >= 100
    assert np.sqrt(np.mean(error**2)) < 3 * NOISE
    assert 0.8 <= np.mean(np.abs(error) <= 1.645 * deviation) <= 0.99


def test_a_measured_unit_is_what_was_measured(model):
    some = units(0, 40)
    ms, deviation = model.predict(some)
    np.testing.assert_allclose(ms, measured(some), rtol=1e-12)
    assert deviation.max() < 5 * NOISE


def test_state_gives_the_same_predictions_and_tunes_nothing(model, monkeypatch):
    monkeypatch.setattr("evaluators.prediction.gaussian_process.tune", None)
    again = UnitModel().fit(units(0, 40), measured(units(0, 40)), model.state())
    for first, second in zip(model.predict(units(1, 30)), again.predict(units(1, 30)), strict=True):
        np.testing.assert_array_equal(first, second)


def test_an_unknown_family_is_predicted_roughly_and_flagged(model):
    found = list({p.unit for s in drawn("vit_small", 32, 16) for p in s.units()})
    others = [u for u in found if u.family not in {known.family for known in model.known}]
    ms, deviation = model.predict(others)
    assert len({u.family for u in others}) >= 10
    assert model.strange(others).all()
    assert deviation.min() >= 0.5
    assert ms.min() > 0


def test_a_unit_far_larger_than_any_measured_is_flagged(model):
    ffn = next(u for u in units(0, 40) if u.part == "ffn")
    numbers = dict(ffn.numbers)
    larger = [Unit(ffn.part, ffn.atoms, tuple((numbers | {"dim": dim}).items())) for dim in (numbers["dim"], 4096)]
    assert model.strange(larger).tolist() == [False, True]


def test_families_divide_the_units():
    some = units(0, 10)
    rows = np.concatenate(list(by_family(some).values()))
    assert sorted(rows.tolist()) == list(range(len(some)))
