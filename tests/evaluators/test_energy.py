"""Energy from counters that are made up, and from time and power."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from evaluators.energy import (
    CPU_CORE_WATTS,
    GPU_WATTS,
    NvmlMeter,
    PowerMeter,
    RaplMeter,
    co2e_g,
    estimate_energy,
    make_meter,
    measure_energy,
)


def powercap(folder: Path, **zones: tuple[str, int]) -> Path:
    for zone, (name, energy_uj) in zones.items():
        path = folder / zone.replace("_", ":")
        path.mkdir(parents=True)
        for file, value in (("name", name), ("energy_uj", energy_uj), ("max_energy_range_uj", 999_999)):
            (path / file).write_text(f"{value}\n")
    return folder


@pytest.fixture
def nvml(monkeypatch):
    """A library in the place of nvidia-ml-py whose counter the test sets, in millijoules."""
    fake = SimpleNamespace(mj=0, asked=[])
    fake.nvmlInit = lambda: None
    fake.nvmlDeviceGetHandleByUUID = lambda uuid: fake.asked.append(uuid) or uuid
    fake.nvmlDeviceGetTotalEnergyConsumption = lambda handle: fake.mj
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"id-of-{device}"))
    return fake


def test_rapl_adds_packages_and_survives_a_counter_that_starts_again(tmp_path):
    zones = {"intel-rapl_0": ("package-0", 100), "intel-rapl_1": ("package-1", 900_000), "intel-rapl_0_0": ("core", 7)}
    meter = RaplMeter.find(powercap(tmp_path, **zones, **{"intel-rapl_2": ("psys", 1)}))
    assert meter.joules() == 0
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("500100")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("100000")  # past 999,999 and on from 0
    assert meter.joules() == pytest.approx(0.5 + 0.2)
    assert (meter.label, "2 packages" in meter.method) == ("measured", True)


def test_no_counters_or_none_that_may_be_read_is_an_estimate_that_says_so(tmp_path):
    folder = powercap(tmp_path / "locked", **{"intel-rapl_0": ("package-0", 0)})
    (folder / "intel-rapl:0" / "energy_uj").unlink()
    for path in (tmp_path / "none", folder):
        meter = make_meter("cpu", threads=2, powercap=path)
        assert (meter.label, meter.watts) == ("estimated", 2 * CPU_CORE_WATTS)
        assert "no energy counter found" in meter.method
    assert make_meter("cpu", watts=12.5, powercap=folder).method == "time x 12.5 W (as given)"


def test_nvml_counts_the_gpu_by_its_id(nvml):
    meter = make_meter("cuda:1")
    before, nvml.mj = meter.joules(), 2500
    assert (meter.label, meter.joules() - before, nvml.asked) == ("measured", 2.5, ["GPU-id-of-cuda:1"])


def test_a_gpu_that_counts_nothing_is_estimated(nvml):
    def unsupported(handle: str) -> int:
        raise RuntimeError("Not Supported")

    nvml.nvmlDeviceGetTotalEnergyConsumption = unsupported
    assert NvmlMeter.find("cuda:0") is None
    assert make_meter("cuda:0").watts == GPU_WATTS


def test_energy_is_shared_among_the_runs_of_a_second(tmp_path):
    folder, now = powercap(tmp_path, **{"intel-rapl_0": ("package-0", 0)}), [0.0]
    counter = folder / "intel-rapl:0" / "energy_uj"

    def run() -> None:
        now[0] += 0.05
        counter.write_text(str(int(counter.read_text()) + 2000))  # 2 mJ

    found = measure_energy(run, RaplMeter.find(folder), seconds=1.0, clock=lambda: now[0])
    assert (found.mj, found.label) == (pytest.approx(2.0), "measured")


def test_an_estimate_is_time_by_power():
    meter = PowerMeter(10.0)
    assert estimate_energy(2.5, meter).mj == 25.0
    now = [0.0]

    def run() -> None:
        now[0] += 0.0025

    metered = measure_energy(run, PowerMeter(10.0, clock=lambda: now[0]), clock=lambda: now[0])
    assert metered.mj == pytest.approx(25.0)


@pytest.mark.parametrize("watts", [0.0, -1.0, float("inf"), float("nan")])
def test_a_power_without_sense_is_refused(watts):
    with pytest.raises(ValueError, match="no power"):
        PowerMeter(watts)


def test_a_kilowatt_hour_has_the_intensity_of_the_grid():
    assert co2e_g(3.6e6) == 473.0
    assert co2e_g(1.8e6, grid_g_per_kwh=50) == 25.0
