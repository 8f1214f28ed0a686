"""Latency of networks on this machine: rounds in random order, a low quantile, a bootstrap interval.

On a machine that others use too, the time of one run is its true cost plus whatever disturbed it. Disturbance only
adds, so a low quantile comes close to the cost where mean and median do not; and rounds that visit every network in a
fresh order spread slow spells over all of them. In a process of its own: evaluators.latency.isolated.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from evaluators.latency.conditions import Conditions, conditions_here
from evaluators.latency.conditions import device_name as device_name
from evaluators.latency.rounds import LatencySettings as LatencySettings
from evaluators.latency.rounds import Rounds, Timer
from evaluators.threads import threads

QUANTILE = 0.05
CONFIDENCE = 0.9
RESAMPLES = 1000
FINE_S = 1e-6  # some systems count a thread's time in ticks of many milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """5th percentile of the milliseconds of one forward pass of a whole batch, with its 90 % bootstrap interval."""

    ms: float
    low: float
    high: float
    rounds: int
    conditions: Conditions


def measure_latency(
    networks: Mapping[str, nn.Module],
    *,
    in_chans: int,
    image_size: int | tuple[int, int],
    device: torch.device | str,
    settings: LatencySettings,
    seed: int,
) -> dict[str, Latency]:
    """Measure networks side by side. Moves them to `device`; see evaluators.latency.lease for having it alone."""
    device = torch.device(device)
    conditions = conditions_here(
        str(device), image_size=image_size, in_chans=in_chans, batch=settings.batch, threads=settings.threads
    )
    images = example_images(conditions, seed).to(device)
    with _ready(networks, device), threads(settings.threads), torch.inference_mode():
        timers = {
            name: make_timer(partial(network, images), device, settings.threads) for name, network in networks.items()
        }
        times = interleave(timers, settings, seed)
    return {name: summarise(ms, conditions, seed) for name, ms in times.items()}


def interleave(
    timers: Mapping[str, Timer],
    settings: LatencySettings,
    seed: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Milliseconds of every timer, one call each per round, in an order drawn afresh for every round."""
    times: dict[str, list[float]] = {name: [] for name in timers}
    for reading in Rounds(timers, settings, seed, clock=clock):
        times[reading.name].append(reading.ms)
    return times


def summarise(times: Sequence[float], conditions: Conditions, seed: int) -> Latency:
    """Low quantile with its percentile bootstrap interval."""
    values = np.asarray(times)
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    spread = np.quantile(values[draws], QUANTILE, axis=1)
    tail = (1 - CONFIDENCE) / 2
    ms = float(np.quantile(values, QUANTILE))
    low, high = min(ms, float(np.quantile(spread, tail))), max(ms, float(np.quantile(spread, 1 - tail)))
    return Latency(ms=ms, low=low, high=high, rounds=len(values), conditions=conditions)


def example_images(conditions: Conditions, seed: int) -> torch.Tensor:
    """Random images (B, C, H, W) on the CPU in float32."""
    shape = (conditions.batch, conditions.in_chans, *conditions.image_size)
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_timer(run: Callable[[], object], device: torch.device, threads: int) -> Timer:
    """A call of `run` that returns its milliseconds: on a GPU by events in its stream, on several threads by the clock.

    One thread on the CPU is timed by its own clock, which stands still while the system runs somebody else's work: a
    network that takes longer than the scheduler's slice is never left alone on a busy machine.
    """
    clock = time.thread_time if threads == 1 and _thread_clock_is_fine() else time.perf_counter

    def on_cpu() -> float:
        start = clock()
        run()
        return 1e3 * (clock() - start)

    def on_cuda() -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        torch.cuda.synchronize(device)
        return float(start.elapsed_time(end))

    return on_cuda if device.type == "cuda" else on_cpu


def _thread_clock_is_fine() -> bool:
    return time.get_clock_info("thread_time").resolution <= FINE_S


@contextmanager
def _ready(networks: Mapping[str, nn.Module], device: torch.device) -> Iterator[None]:
    """Networks on the device and in evaluation mode, the garbage collector at rest; both as before afterwards."""
    modes, collecting = {name: network.training for name, network in networks.items()}, gc.isenabled()
    try:
        for network in networks.values():
            network.to(device).eval()
        gc.collect()
        gc.disable()
        yield
    finally:
        if collecting:
            gc.enable()
        for name, network in networks.items():
            network.train(modes[name])
