"""Latency of networks on this machine: rounds in random order, a low quantile, a bootstrap interval.

On a machine that others use too, the time of one run is its true cost plus whatever disturbed it. Disturbance only
adds, so a low quantile comes close to the cost where mean and median do not; and rounds that visit every network in a
fresh order spread slow spells over all of them.
"""

import gc
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

QUANTILE = 0.05
CONFIDENCE = 0.9
RESAMPLES = 1000
MIN_ROUNDS = 3  # taken even when the time is over
WARMUP_SHARE = 0.25  # of the time, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySettings:
    """How to measure. seconds: stop after this time, however many rounds that leaves."""

    batch: int = 1
    threads: int = 1
    rounds: int = 150
    warmup: int = 10
    seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("batch", "threads", "rounds", "seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"latency.{name}: {getattr(self, name)} is too small; give a number above 0")
        if self.warmup < 0:
            raise ValueError(f"latency.warmup: {self.warmup} is too small; give 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """5th percentile of the milliseconds of one forward pass of a whole batch, with its 90 % bootstrap interval."""

    ms: float
    low: float
    high: float
    rounds: int
    conditions: dict[str, str | int]


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
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(settings.batch, in_chans, height, width, generator=generator).to(device)
    conditions: dict[str, str | int] = {
        "device": device_name(device), "batch": settings.batch, "threads": settings.threads,
        "image": f"{in_chans}x{height}x{width}", "torch": torch.__version__,
    }  # fmt: skip
    with _ready(networks, device), _threads(settings.threads), torch.inference_mode():
        timers = {name: _timer(network, images) for name, network in networks.items()}
        times = interleave(timers, settings, seed)
    return {name: summarise(ms, conditions, seed) for name, ms in times.items()}


def interleave(
    timers: Mapping[str, Callable[[], float]],
    settings: LatencySettings,
    seed: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Milliseconds of every timer, one call each per round, in an order drawn afresh for every round."""
    start, names, rng = clock(), list(timers), np.random.default_rng(seed)
    for _ in range(settings.warmup):
        for name in names:
            timers[name]()
        if clock() - start > WARMUP_SHARE * settings.seconds:
            break
    times: dict[str, list[float]] = {name: [] for name in names}
    for done in range(settings.rounds):
        if done >= MIN_ROUNDS and clock() - start > settings.seconds:
            break
        for i in rng.permutation(len(names)):
            times[names[i]].append(timers[names[i]]())
    return times


def summarise(times: list[float], conditions: dict[str, str | int], seed: int) -> Latency:
    """Low quantile with its percentile bootstrap interval."""
    values = np.asarray(times)
    draws = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    spread = np.quantile(values[draws], QUANTILE, axis=1)
    tail = (1 - CONFIDENCE) / 2
    ms = float(np.quantile(values, QUANTILE))
    low, high = min(ms, float(np.quantile(spread, tail))), max(ms, float(np.quantile(spread, 1 - tail)))
    return Latency(ms=ms, low=low, high=high, rounds=len(values), conditions=conditions)


def device_name(device: torch.device | str) -> str:
    """What a measurement depends on, in words: the model of the processor or of the GPU."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _timer(network: nn.Module, images: torch.Tensor) -> Callable[[], float]:
    """A call that runs the network once and returns its milliseconds."""

    def on_cpu() -> float:
        start = time.perf_counter()
        network(images)
        return 1e3 * (time.perf_counter() - start)

    def on_cuda() -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        network(images)
        end.record()
        torch.cuda.synchronize(images.device)
        return float(start.elapsed_time(end))

    return on_cuda if images.is_cuda else on_cpu


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


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
