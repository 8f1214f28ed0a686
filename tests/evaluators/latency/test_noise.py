"""The noise ceiling against noise of a known size."""

from math import erf

import numpy as np
import pytest

from evaluators.latency.noise import noise_ceiling


def sessions(noise: float, count: int, networks: int = 4000) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 10, networks)
    return [{str(i): t * np.exp(noise * rng.normal()) for i, t in enumerate(true)} for _ in range(count)]


def test_equal_sessions_predict_each_other():
    found = noise_ceiling(sessions(0.0, 2, 20))
    assert (found.scores.within_5, found.scores.rmspe, found.networks, found.sessions) == (1.0, 0.0, 20, 2)
    assert found.scores.spearman == pytest.approx(1)


def test_normal_noise_gives_its_closed_form():
    found = noise_ceiling(sessions(0.04, 3)).scores
    spread = 0.04 * np.sqrt(2)
    within = [erf(x / spread / np.sqrt(2)) for x in (0.05, 0.1)]
    assert (found.within_5, found.within_10) == pytest.approx(within, abs=0.02)
    assert found.rmspe == pytest.approx(100 * spread, rel=0.05)


def test_only_networks_in_both_sessions_count():
    first, second = sessions(0.0, 2, 10)
    del first["0"], second["1"]
    assert noise_ceiling([first, second]).networks == 8


def test_too_little_is_refused():
    with pytest.raises(ValueError, match="two sessions"):
        noise_ceiling(sessions(0.1, 1))
    with pytest.raises(ValueError, match="at least 3 networks"):
        noise_ceiling([{"a": 1.0}, {"a": 1.0}])
