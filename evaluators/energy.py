"""Energy of a device: counters of the hardware where there are any, else time and a stated power; and its CO2e.

RAPL counts the processor's packages, with all that runs on them; NVML the whole GPU. Neither sees
the rest of the machine.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

POWERCAP = Path("/sys/class/powercap")
CPU_CORE_WATTS = 8.0  # one busy core with its share of the package: servers 3 to 6, desktops 8 to 15
GPU_WATTS = 250.0  # a busy card: laptops 50 to 150, desktops 150 to 450, data centres 250 to 1000
GRID_G_PER_KWH = 473.0  # world mean of 2024: Ember, Global Electricity Review 2025
JOULES_PER_KWH = 3.6e6


class EnergyMeter(Protocol):
    """A counter that only rises. label: measured or estimated. method: in words, for a report."""

    label: str
    method: str

    def joules(self) -> float:
        """Since some moment in the past; differences count. Read it at least every ten minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Millijoules of one forward pass of a whole batch."""

    mj: float
    label: str
    method: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def make_meter(
    device: str, *, threads: int = 1, watts: float | None = None, powercap: Path = POWERCAP
) -> "EnergyMeter":
    """The best meter there is for "cpu" or "cuda:N". watts: of the device, where nothing counts its energy."""
    found = NvmlMeter.find(device) if device.startswith("cuda") else RaplMeter.find(powercap)
    return found or PowerMeter(watts if watts is not None else default_watts(device, threads), stated=watts is not None)


def default_watts(device: str, threads: int = 1) -> float:
    """A typical power of the device at work."""
    return GPU_WATTS if device.startswith("cuda") else CPU_CORE_WATTS * threads


def measure_energy(
    run: Callable[[], object],
    meter: EnergyMeter,
    *,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Energy:
    """Run again and again for `seconds`: counters move in steps of up to 20 ms. `run` must end when its work has."""
    run()
    start, before, count = clock(), meter.joules(), 0
    while clock() - start < seconds or count == 0:
        run()
        count += 1
    return Energy(mj=1e3 * (meter.joules() - before) / count, label=meter.label, method=meter.method)


def estimate_energy(latency_ms: float, meter: "PowerMeter") -> Energy:
    """From a latency that has been measured: milliseconds times watts are millijoules."""
    return Energy(mj=latency_ms * meter.watts, label=meter.label, method=meter.method)


def co2e_g(joules: float, grid_g_per_kwh: float = GRID_G_PER_KWH) -> float:
    """Grams of CO2 equivalent at the intensity of the grid."""
    return joules / JOULES_PER_KWH * grid_g_per_kwh


class PowerMeter:
    """Time times a constant power."""

    label = "estimated"

    def __init__(self, watts: float, *, stated: bool = False, clock: Callable[[], float] = time.perf_counter) -> None:
        if not 0 < watts < float("inf"):
            raise ValueError(f"watts: {watts:g} is no power; give a number above 0")
        self.watts, self._clock = watts, clock
        self.method = f"time x {watts:g} W ({'as given' if stated else 'a typical power; no energy counter found'})"

    def joules(self) -> float:
        return self.watts * self._clock()


class RaplMeter:
    """Energy of the processor's packages from the kernel's powercap tree; needs the right to read it."""

    label = "measured"

    def __init__(self, zones: list[Path]) -> None:
        self.method = f"RAPL, {len(zones)} package{'s' * (len(zones) > 1)}, idle power and other work included"
        self._zones = [(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())) for zone in zones]
        self._last = [int(path.read_text()) for path, _ in self._zones]
        self._total_uj = 0

    @classmethod
    def find(cls, powercap: Path = POWERCAP) -> "RaplMeter | None":
        """None where there are no packages or they may not be read."""
        try:
            zones = sorted(powercap.glob("intel-rapl:?*"))
            packages = [z for z in zones if (z / "name").read_text().startswith("package")]
            return cls(packages) if packages else None
        except (OSError, ValueError):
            return None

    def joules(self) -> float:
        for i, (path, span) in enumerate(self._zones):
            now = int(path.read_text())
            self._total_uj += (now - self._last[i]) % (span + 1)  # the counter starts again from 0
            self._last[i] = now
        return self._total_uj / 1e6


class NvmlMeter:
    """Energy of one NVIDIA GPU since its driver was loaded (Volta and later)."""

    label = "measured"
    method = "NVML, the whole GPU, idle power included"

    def __init__(self, library: Any, handle: Any) -> None:
        self._library, self._handle = library, handle
        self.joules()

    @classmethod
    def find(cls, device: str) -> "NvmlMeter | None":
        """None without nvidia-ml-py, or where the card counts no energy."""
        try:
            import pynvml
            import torch

            pynvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            return cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
        except Exception:  # a missing library, driver or counter: each has its own kind of error
            return None

    def joules(self) -> float:
        return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
