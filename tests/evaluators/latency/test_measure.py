"""The statistics of latency with clocks and networks that are made up; real ones only for what surrounds them."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from evaluators.latency import measure
from evaluators.latency.measure import (
    LatencySettings,
    device_name,
    interleave,
    make_timer,
    measure_latency,
    summarise,
)


class Machine:
    """Calls take a known time; every third one is disturbed and takes ten times as long."""

    def __init__(self, **costs_ms: float):
        self.now, self.calls, self.costs = 0.0, [], costs_ms

    def timers(self):
        return {name: lambda name=name: self.run(name) for name in self.costs}

    def run(self, name: str) -> float:
        self.calls.append(name)
        ms = self.costs[name] * (10 if len(self.calls) % 3 == 0 else 1)
        self.now += ms / 1e3
        return ms

    def clock(self) -> float:
        return self.now


def test_low_quantile_finds_the_undisturbed_time_where_the_mean_does_not():
    machine = Machine(a=2.0, b=3.0)
    times = interleave(machine.timers(), LatencySettings(rounds=60, seconds=100), 0, machine.clock)
    found = {n: summarise(t, None, 0) for n, t in times.items()}
    assert (found["a"].ms, found["b"].ms) == (2.0, 3.0)
    assert np.mean(times["a"]) > 4


def test_every_round_visits_all_networks_in_a_fresh_order():
    machine = Machine(a=6.0, b=6.0, c=6.0)
    interleave(machine.timers(), LatencySettings(rounds=50, warmup=2, seconds=100), 7, machine.clock)
    rounds = [tuple(machine.calls[i : i + 3]) for i in range(6, len(machine.calls), 3)]
    assert len(rounds) == 50
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len(set(rounds)) == 6


def test_order_depends_on_the_seed_alone():
    orders = []
    for seed in (1, 1, 2):
        machine = Machine(a=1.0, b=1.0)
        interleave(machine.timers(), LatencySettings(rounds=20), seed, machine.clock)
        orders.append(machine.calls)
    assert orders[0] == orders[1] != orders[2]


def test_time_limit_ends_warm_up_and_rounds_but_leaves_three():
    machine = Machine(slow=400.0)
    times = interleave(machine.timers(), LatencySettings(rounds=100, warmup=50, seconds=10), 0, machine.clock)
    assert machine.now < 10 + 4
    assert 3 < len(times["slow"]) < 20
    crawling = Machine(slow=60_000.0)
    assert len(interleave(crawling.timers(), LatencySettings(seconds=1), 0, crawling.clock)["slow"]) == 3


def test_interval_holds_the_true_quantile_about_nine_times_in_ten():
    rng, true = np.random.default_rng(0), -np.log(0.95)
    found = [summarise(rng.exponential(size=150).tolist(), None, s) for s in range(200)]
    assert all(f.low <= f.ms <= f.high for f in found)
    assert 0.8 < np.mean([f.low <= true <= f.high for f in found]) < 0.97


def test_one_thread_is_not_charged_for_what_others_run():
    """Asleep it gives its core away, as it does when the system runs another process."""
    own, by_clock = (make_timer(lambda: time.sleep(0.05), torch.device("cpu"), threads) for threads in (1, 2))
    assert own() < 25
    assert by_clock() >= 50


def test_a_coarse_thread_clock_is_not_used(monkeypatch):
    monkeypatch.setattr(measure, "FINE_S", 0.0)
    assert make_timer(lambda: time.sleep(0.05), torch.device("cpu"), 1)() >= 50


def test_measuring_restores_threads_mode_and_gradients():
    network, threads = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).train(), torch.get_num_threads()
    seen = []
    network[0].register_forward_hook(lambda *_: seen.append((torch.get_num_threads(), network.training)))
    settings = LatencySettings(threads=threads + 1, rounds=3, warmup=1, batch=2)
    found = measure_latency({"n": network}, in_chans=3, image_size=4, device="cpu", settings=settings, seed=0)["n"]
    assert set(seen) == {(threads + 1, False)}
    assert len(seen) >= 3 + 1
    assert torch.get_num_threads() == threads
    assert network.training
    assert found.rounds == 3
    assert 0 < found.low <= found.ms <= found.high
    assert (found.conditions.in_chans, found.conditions.image_size) == (3, (4, 4))
    assert found.conditions.device == device_name("cpu")


@pytest.mark.parametrize(
    ("key", "value"), [("rounds", 0), ("batch", 0), ("threads", -1), ("warmup", -1), ("seconds", 0)]
)
def test_settings_without_sense_are_refused(key, value):
    with pytest.raises(ValueError, match=f"latency.{key}"):
        LatencySettings(**{key: value})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_events_time_a_gpu():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 3072))
    settings = LatencySettings()
    found = measure_latency({"n": network}, in_chans=3, image_size=32, device="cuda", settings=settings, seed=0)
    assert 0 < found["n"].ms < 50
