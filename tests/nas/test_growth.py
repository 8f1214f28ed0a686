"""What more trials are forecast to add: the process against simulation, campaigns that stand still or grow, records."""

import numpy as np
import pytest

from nas.pareto import hypervolume_history
from nas.reporting.growth import DECAYS, ENOUGH, RATE, Growth


def certain(decay: float, scale: float, seen: float, trials: int = 100) -> Growth:
    weights = (np.abs(DECAYS - decay) == np.abs(DECAYS - decay).min()).astype(float)
    return Growth(trials=trials, seen=seen, weights=weights, scales=np.full(len(DECAYS), scale), finds=1e6)


def test_the_forecast_equals_a_simulation_of_the_process() -> None:
    rng = np.random.default_rng(0)
    growth = certain(decay=0.5, scale=0.3, seen=6.0)
    size = 0.3 / rng.gamma(6.0, size=200_000)  # posterior of the size of jumps
    gains = size * rng.gamma(RATE * np.log(1.5), size=200_000) * 1.5 ** (-0.5 / 2)
    for share in (0.05, 0.5, 0.95):
        assert growth.quantile(50, share) == pytest.approx(np.quantile(gains, share), rel=0.03)
    assert growth.chance(50, 0.01) == pytest.approx((gains > 0.01).mean(), abs=0.005)
    assert growth.rate(0.5) == pytest.approx(RATE * np.median(size) / 100, rel=0.02)


def test_quantiles_and_chances_are_inverse() -> None:
    growth = Growth.fit(np.sqrt(np.arange(1, 61)))
    assert growth is not None
    for share in (0.05, 0.5, 0.95):
        assert growth.chance(30, growth.quantile(30, share)) == pytest.approx(1 - share, abs=1e-6)


def test_a_campaign_that_stands_still_is_told_to_gain_less_than_one_that_grows() -> None:
    still, growing = Growth.fit(np.full(100, 2.0)), Growth.fit(np.arange(1.0, 101.0))
    assert still is not None
    assert growing is not None
    assert still.quantile(50, 0.95) < 0.02 < growing.quantile(50, 0.5)
    assert still.rate(0.5) < growing.rate(0.5)


def test_more_trials_gain_more() -> None:
    growth = Growth.fit(np.log1p(np.arange(1, 61)))
    assert growth is not None
    assert growth.quantile(10, 0.5) < growth.quantile(30, 0.5) < growth.quantile(60, 0.5)


def test_the_scale_of_the_hypervolume_does_not_matter() -> None:
    volumes = np.log1p(np.arange(1, 61))
    one, other = Growth.fit(volumes), Growth.fit(1e6 * volumes)
    assert one is not None
    assert other is not None
    assert one.quantile(30, 0.5) == pytest.approx(other.quantile(30, 0.5))


@pytest.mark.parametrize("volumes", [[], [1.0] * (ENOUGH - 1), [0.0] * 50])
def test_too_few_trials_or_no_result_give_no_forecast(volumes: list[float]) -> None:
    assert Growth.fit(volumes) is None


def test_records_stand_still_as_often_as_chance_has_it() -> None:
    rng = np.random.default_rng(2)
    told = [Growth.fit(np.maximum.accumulate(rng.random(100))).still(50) for _ in range(300)]  # type: ignore[union-attr]
    assert np.mean(told) == pytest.approx(100 / 150, abs=0.1)  # the best of 150 is among the first 100


def test_gains_of_random_points_lie_in_the_interval_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(60):
        volumes = hypervolume_history(rng.random((90, 2)), np.ones(2))
        growth = Growth.fit(volumes[:60])
        assert growth is not None
        inside.append(growth.quantile(30, 0.05) <= volumes[-1] / volumes[59] - 1 <= growth.quantile(30, 0.95))
    assert np.mean(inside) > 0.75
