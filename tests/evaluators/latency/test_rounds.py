"""Rounds and what the reference says of them, on devices that are made up: a clock that throttles, a neighbour."""

import numpy as np
import pytest

from evaluators.latency.judgement import judge, trend
from evaluators.latency.measure import summarise
from evaluators.latency.rounds import EVERY_S, LatencySettings, Reading, Rounds, steady, warm_up

COSTS = {"a": 2.0, "b": 5.0}
LONG_AND_SHORT = {"a": 2.0, "b": 8.0}


class Device:
    """slower(now in seconds): factor on every call's time."""

    def __init__(self, slower=lambda now: 1.0, noise: float = 0.01):
        self.now, self.slower, self.calls, self.rng, self.noise = 0.0, slower, [], np.random.default_rng(0), noise

    def run(self, name: str, cost: float) -> float:
        self.calls.append(name)
        ms = cost * self.slower(self.now) * (1 + self.rng.exponential(self.noise))
        self.now += ms / 1e3
        return ms

    def session(self, costs=COSTS, **settings) -> list[Reading]:
        timers = {name: lambda name=name: self.run(name, costs[name]) for name in costs}
        settings = LatencySettings(**{"rounds": 100, "seconds": 100, "warmup": 4} | settings)
        return list(Rounds(timers, settings, 0, reference=lambda: self.run("", 1.0), clock=lambda: self.now))


def found(readings: list[Reading]) -> dict[str, float]:
    return {name: summarise(times, None, 0).ms for name, times in judge(readings).times.items()}


def test_a_quiet_device_gives_the_true_times_and_nothing_to_say():
    judged = judge(Device().session())
    assert (judged.drift, judged.notes) == (pytest.approx(0, abs=0.01), ())
    assert judged.disturbed < 0.02
    assert found(Device().session()) == pytest.approx(COSTS, rel=0.02)


def test_a_short_call_counts_when_its_caches_are_warm():
    device = Device(noise=0)
    timers = {name: lambda name=name: device.run(name, _cold(device, name)) for name in LONG_AND_SHORT}
    readings = list(Rounds(timers, LatencySettings(rounds=5, warmup=0, seconds=100), 0, clock=lambda: device.now))
    assert {r.ms for r in readings if r.name == "a"} == {2.0}
    assert device.calls.count("a") == 2 * device.calls.count("b") == 10


def _cold(device: Device, name: str) -> float:
    """A quarter more after another network."""
    return LONG_AND_SHORT[name] * (1.0 if device.calls[-1:] == [name] else 1.25)


def test_a_slow_spell_is_taken_again():
    def spell(now: float) -> float:
        return 1.6 if 0.3 < now < 0.5 else 1.0

    quiet, spelled = Device().session(), Device(spell).session()
    assert len(spelled) > len(quiet) == 200
    assert all(len(times) >= 100 for times in judge(spelled).times.values())
    assert found(spelled) == pytest.approx(COSTS, rel=0.02)


@pytest.mark.parametrize("drift", [0.06, -0.06])
def test_a_drift_is_found_and_taken_out(drift):
    def drifting(now: float) -> float:
        return 1 + drift * now / 1.1

    judged = judge(Device(drifting).session({"a": 2.0, "b": 6.0}, warmup=0))
    assert judged.drift == pytest.approx(drift, abs=0.015)
    assert ("slower" if drift > 0 else "faster") in judged.notes[0]
    assert "corrects it" in judged.notes[0]
    spread = np.array(judged.times["b"])
    assert abs(spread[-20:].mean() / spread[:20].mean() - 1) < 0.015
    assert spread.min() == pytest.approx(6 * min(1, 1 + drift), rel=0.02)


def test_sessions_at_different_speeds_agree_on_one_scale():
    first, second = Device().session(), Device(lambda now: 1.3).session()
    scale = judge(first).reference_ms
    times = {name: summarise(times, None, 0).ms for name, times in judge(second, scale).times.items()}
    assert times == pytest.approx(found(first), rel=0.02)
    assert found(second) == pytest.approx({"a": 2.6, "b": 6.5}, rel=0.02)


def test_throttling_to_half_the_clock_keeps_the_time_before():
    readings = Device(lambda now: 1.0 if now < 0.3 else 2.0).session()
    assert found(readings) == pytest.approx(COSTS, rel=0.02)
    notes = judge(readings).notes
    assert any("slower during the session" in note for note in notes)
    assert any("at a lower clock" in note for note in notes)


def test_repeats_end_with_the_time_and_at_double_the_rounds():
    alternating = iter([1.0, 3.0] * 100_000)
    device = Device(lambda now: next(alternating))
    assert len(device.session(rounds=50)) <= 2 * 2 * 50 + 2
    alternating = iter([1.0, 3.0] * 100_000)
    device = Device(lambda now: next(alternating))
    device.session(rounds=5000, seconds=0.5)
    assert device.now < 0.6


def test_a_network_that_was_always_disturbed_keeps_its_readings_and_is_named():
    quiet = [Reading(name="a", at_s=i, ms=1.0, reference_ms=1.0) for i in range(50)]
    loud = [Reading(name="b", at_s=i, ms=4.0, reference_ms=3.0) for i in range(20)]
    judged = judge(quiet + loud)
    assert judged.times["b"] == pytest.approx([4.0 / 3] * 20)
    assert any("too few undisturbed readings of b" in note for note in judged.notes)


def test_the_reference_is_looked_at_before_and_after_a_few_readings():
    device = Device()
    device.session({"a": 1e3 * EVERY_S / 4}, rounds=40, warmup=0)
    looks = "".join(c or "." for c in device.calls).split("..")
    assert max(len(group) for group in looks) == 4
    assert device.calls[:2] == device.calls[-2:] == ["", ""]


def test_noise_alone_is_no_drift():
    rng = np.random.default_rng(1)
    drifts = [trend(np.arange(200.0), 1 + rng.exponential(0.1, 200)) for _ in range(100)]
    assert np.mean(np.abs(drifts) > 0.02) < 0.1
    assert trend(np.arange(10.0), np.arange(1.0, 11.0)) == 0.0


def test_warm_up_ends_when_calls_get_no_faster():
    times = iter([10.0, 6.0, 4.0, 3.0, 2.5, 2.2, 2.1] + [2.0] * 100)
    rounds = warm_up({"a": lambda: next(times)}, LatencySettings(warmup=2), lambda: 0.0)
    assert 7 < rounds < 12
    assert steady([2.0] * 10, 10)
    assert not steady([3.0] * 5 + [2.0] * 5, 10)
    assert not steady([2.0] * 9, 10)


def test_warm_up_can_be_left_out_and_never_takes_all_the_time():
    device = Device()
    assert warm_up({"a": lambda: device.run("a", 1.0)}, LatencySettings(warmup=0), lambda: device.now) == 0
    faster = Device(lambda now: np.exp(-now))
    warm_up({"a": lambda: faster.run("a", 100.0)}, LatencySettings(warmup=2, seconds=8), lambda: faster.now)
    assert faster.now < 2.2
