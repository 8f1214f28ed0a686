"""`nas measure`: costs of architectures on this machine, under the one protocol of all measurements."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from evaluators.latency.conditions import DTYPES, RUNTIMES, conditions_here
from evaluators.latency.isolated import MeasureJob, Measurement, measure_isolated
from evaluators.latency.lease import DeviceLease
from evaluators.latency.measure import LatencySettings
from evaluators.latency.runtimes import check_cuda
from nas.description import load_architecture
from nas.errors import UserError, unknown
from nas.listing import print_rows
from nas.status_line import StatusLine
from nas.worker import lease_path, resolve_device


def measure_configs(
    configs: Sequence[str],
    *,
    device: str = "auto",
    runtime: str = "eager",
    dtype: str = "float32",
    batch: int = 1,
    threads: int = 1,
    seconds: float = 20.0,
    watts: float | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure config files and zoo networks side by side; plain data. Waits until no campaign uses the device.

    Raises UserError for a config that cannot be read and for conditions that this machine cannot measure under.
    """
    check_choices(device, runtime, dtype, seconds, watts)
    device = resolve_device(device)
    if device.startswith("cuda"):
        check_cuda(device)
    jobs = list(_jobs(configs))
    conditions = conditions_here(
        device, image_size=jobs[0].image_size or 1, in_chans=jobs[0].in_chans or 1, batch=batch, threads=threads,
        dtype=dtype, runtime=runtime,
    )  # fmt: skip
    line, found, interrupted = StatusLine(quiet), list[Measurement](), False
    settings = LatencySettings(seconds=seconds)
    measurements = measure_isolated(
        jobs,
        conditions,
        settings,
        device=device,
        seed=seed,
        watts=watts,
        report=lambda p: line.progress(p.doing, p.left_s),
    )
    line.show("waiting for the device")
    with DeviceLease(lease_path(device)).exclusive():
        try:
            found.extend(measurements)
        except KeyboardInterrupt:
            interrupted = True
    line.end()
    if not found:
        raise KeyboardInterrupt
    shared = conditions.to_json()
    del shared["image_size"], shared["in_chans"]
    return {
        "conditions": shared,
        "measurements": [_row(m, job) for m, job in zip(found, jobs, strict=False)],
        "notes": list(found[0].notes),
        "drift": found[0].drift,
        "disturbed": found[0].disturbed,
        "reference_ms": found[0].reference_ms,
        "interrupted": interrupted,
    }


def print_measurements(found: dict[str, Any]) -> None:
    """A table on stdout; what went wrong on stderr."""
    c = found["conditions"]
    versions = ", ".join(f"{name} {version}" for name, version in c["versions"].items())
    print(f"{c['device']}, {c['runtime']}, {c['dtype']}, batch {c['batch']}, threads {c['threads']}, {versions}")
    print_rows([_cells(m) for m in found["measurements"]])
    energies = {(m["energy"]["label"], m["energy"]["method"]) for m in found["measurements"] if m["energy"]}
    for label, method in sorted(energies):
        print(f"energy: {label}, {method}")
    if c["runtime"] == "onnxruntime":
        print("memory: estimated, from the same network in eager PyTorch")
    for note in found["notes"]:
        print(f"note: {note}", file=sys.stderr)
    for m in found["measurements"]:
        if m["error"]:
            print(f"nas: {m['name']}: {m['error']}", file=sys.stderr)


def check_choices(device: str, runtime: str, dtype: str, seconds: float, watts: float | None) -> None:
    if not re.fullmatch(r"auto|cpu|cuda|cuda:\d+", device):
        raise UserError(f"--device: unknown device {device!r}; choices: auto, cpu, cuda or cuda:N")
    for option, value, choices in (("--runtime", runtime, RUNTIMES), ("--dtype", dtype, DTYPES)):
        if value not in choices:
            raise unknown(option.lstrip("-"), value, choices, option)
    for option, number in (("--seconds", seconds), ("--watts", watts)):
        if number is not None and not 0 < number < float("inf"):
            raise UserError(f"{option}: {number:g} is out of range; give a number above 0")


def _jobs(configs: Sequence[str]) -> Iterator[MeasureJob]:
    """One for each config; names that occur twice are told apart by number."""
    seen: Counter[str] = Counter()
    for config in configs:
        genotype, inputs, name = load_architecture(config)
        seen[name] += 1
        size = inputs["image_size"]
        yield MeasureJob(
            name=name if seen[name] == 1 else f"{name} ({seen[name]})",
            arguments={"genotype": genotype.to_json(), **inputs},
            image_size=(size, size) if isinstance(size, int) else size,
            in_chans=inputs["in_chans"],
        )


def _row(m: Measurement, job: MeasureJob) -> dict[str, Any]:
    latency = m.latency
    return {
        "name": m.name,
        "image_size": list(job.image_size or ()),
        "in_chans": job.in_chans,
        "latency_ms": latency and latency.ms,
        "interval": latency and [latency.low, latency.high],
        "rounds": latency.rounds if latency else 0,
        "memory": [x.to_json() for x in m.memory],
        "energy": m.energy and m.energy.to_json(),
        "error": m.error,
    }


def _cells(row: dict[str, Any]) -> dict[str, str]:
    memory = {m["phase"]: f"{m['mb']:.4g}" for m in row["memory"]}
    low, high = row["interval"] or (0, 0)
    return {
        "network": row["name"],
        "image": "x".join(map(str, row["image_size"])),
        "ms": f"{row['latency_ms']:.4g}" if row["interval"] else "",
        "90 % interval": f"{low:.4g}-{high:.4g}" if row["interval"] else "",
        "rounds": str(row["rounds"]),
        "memory MB": memory.get("inference", ""),
        "training MB": memory.get("training", ""),
        "mJ": f"{row['energy']['mj']:.4g}" if row["energy"] else "",
    }
