"""The measuring process: reads one request from stdin, writes what it finds as JSON lines, ends with its parent.

Order: build, compile, warm up, rounds, energy, memory; what may break the process comes last. Run by
evaluators.latency.isolated as `python -m evaluators.latency.child`.
"""

import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from evaluators.energy import make_meter, measure_energy
from evaluators.latency.conditions import Conditions, conditions_here
from evaluators.latency.measure import example_images, make_timer
from evaluators.latency.pinning import pin
from evaluators.latency.reference import Reference
from evaluators.latency.rounds import LatencySettings, Reading, Rounds
from evaluators.latency.runtimes import Run, prepare
from evaluators.memory import Memory, inference_memory, kept_memory, training_memory

EVERY_S = 0.5  # between two lines of readings
ENERGY_S = 0.5  # of running each network for its energy
Emit = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One network ready to run."""

    network: nn.Module
    images: Tensor
    run: Run


def network_of(genotype: dict[str, Any], **options: Any) -> nn.Module:
    """The network of a genotype in JSON; options of search_spaces.model.build."""
    from nas.genotype import Genotype
    from search_spaces.model import build

    size = options.pop("image_size")
    return build(Genotype.from_json(genotype), image_size=size if isinstance(size, int) else tuple(size), **options)


def work(request: dict[str, Any], emit: Emit) -> None:
    """Do what is asked; a network that fails is reported and left out, a lost device ends it all."""
    conditions = Conditions.from_json(request["conditions"])
    settings, device = LatencySettings(**request["settings"]), torch.device(request["device"])
    cores = pin(settings.threads) if device.type == "cpu" and request["pin"] else ()
    torch.set_num_threads(settings.threads)
    found = conditions_here(
        str(device), image_size=conditions.image_size, in_chans=conditions.in_chans, batch=settings.batch,
        threads=settings.threads, dtype=conditions.dtype, runtime=conditions.runtime,
    )  # fmt: skip
    emit("ready", conditions=found.to_json(), cores=list(cores))
    subjects = dict(_subjects(request, conditions, device, emit))
    with torch.inference_mode(), _no_collecting():
        _time(subjects, settings, request["seed"], device, emit)
        _energy(subjects, str(device), emit)
    for phase in request["memory"]:
        _memory(subjects, phase, conditions, emit)


def _subjects(
    request: dict[str, Any], conditions: Conditions, device: torch.device, emit: Emit
) -> Iterator[tuple[str, Subject]]:
    for job in request["jobs"]:
        emit("doing", what="building", name=job["name"])
        own = replace(conditions, image_size=tuple(job["image_size"]), in_chans=job["in_chans"])
        with _reported(job["name"], emit):
            network = _factory(job["make"])(**job["arguments"]).to(device)
            images = example_images(own, request["seed"]).to(device)
            run = prepare(network, images, own)
            with torch.inference_mode():
                run()
            yield job["name"], Subject(network=network, images=images.to(getattr(torch, own.dtype)), run=run)


def _time(subjects: dict[str, Subject], settings: LatencySettings, seed: int, device: torch.device, emit: Emit) -> None:
    if not subjects:
        return
    emit("doing", what="measuring", name=None)
    reference = Reference(device.type).to(device).eval()
    example = reference.example().to(device)
    timers = {name: make_timer(subject.run, device, settings.threads) for name, subject in subjects.items()}
    timed_reference = make_timer(lambda: reference(example), device, settings.threads)
    rounds = Rounds(timers, settings, seed, reference=timed_reference)
    pending, last = list[Reading](), time.perf_counter()
    try:
        for reading in rounds:
            pending.append(reading)
            if time.perf_counter() - last > EVERY_S:
                _emit_readings(pending, emit)
                pending, last = [], time.perf_counter()
    finally:
        _emit_readings(pending, emit)


def _emit_readings(readings: list[Reading], emit: Emit) -> None:
    emit("readings", rows=[[r.name, round(r.at_s, 6), r.ms, r.reference_ms] for r in readings])


def _energy(subjects: dict[str, Subject], device: str, emit: Emit) -> None:
    """Only where something counts it; an estimate follows from the latency."""
    meter = make_meter(device)
    if meter.label != "measured":
        return
    for name, subject in subjects.items():
        emit("doing", what="counting the energy of", name=name)

        def run(subject: Subject = subject) -> None:
            subject.run()
            if subject.images.is_cuda:
                torch.cuda.synchronize(subject.images.device)

        emit("energy", name=name, **measure_energy(run, meter, seconds=ENERGY_S).to_json())


def _memory(subjects: dict[str, Subject], phase: str, conditions: Conditions, emit: Emit) -> None:
    what = {"inference": "memory", "training": "training memory", "kept": "memory for the backward pass"}[phase]
    for name, subject in subjects.items():
        emit("doing", what=f"measuring the {what} of", name=name)
        with _reported(name, emit, what):
            emit("memory", name=name, **_memory_of(subject, phase, conditions).to_json())


def _memory_of(subject: Subject, phase: str, conditions: Conditions) -> Memory:
    """ONNX Runtime has an allocator of its own, so its memory is that of the eager network."""
    if phase == "kept":
        return kept_memory(subject.network, subject.images.clone().requires_grad_())
    if phase == "training":
        return training_memory(subject.network, subject.images)
    foreign = conditions.runtime == "onnxruntime"
    label, run = ("estimated", None) if foreign else ("measured", subject.run)
    return inference_memory(subject.network, subject.images, run=run, label=label)


@contextmanager
def _reported(name: str, emit: Emit, what: str = "") -> Iterator[None]:
    """An error of one network becomes a line; one of the device is none of the network's."""
    try:
        yield
    except GeneratorExit:
        raise
    except Exception as error:
        if type(error).__name__ == "AcceleratorError":
            raise
        lines = str(error).strip().splitlines()
        text = lines[0][:300] if lines else "no message"
        kind = "out of memory" if isinstance(error, MemoryError | torch.OutOfMemoryError) else type(error).__name__
        emit("failed", name=name, error=f"{what + ': ' if what else ''}{kind}: {text}")


def _factory(path: str) -> Callable[..., nn.Module]:
    module, _, name = path.partition(":")
    made: Callable[..., nn.Module] = getattr(import_module(module), name)
    return made


@contextmanager
def _no_collecting() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _watch_parent() -> None:
    """End when the pipe from the parent closes, however it died."""
    os.read(0, 1)
    os._exit(1)


def main() -> None:
    """Results go to a copy of stdout; what libraries print goes to stderr."""
    results = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    request = json.loads(_first_line())
    threading.Thread(target=_watch_parent, daemon=True).start()

    def emit(event: str, **content: Any) -> None:
        results.write(json.dumps({"event": event, **content}) + "\n")

    try:
        work(request, emit)
    except Exception as error:
        lines = str(error).strip().splitlines()
        emit("lost", error=f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}")
        sys.exit(1)
    emit("done")
    results.flush()
    os._exit(0)  # a device that hangs must not hold the exit up


def _first_line() -> bytes:
    """Read byte by byte past Python's buffers, so that the watch sees the end of the pipe."""
    with os.fdopen(os.dup(0), "rb") as stdin:
        return stdin.readline()


if __name__ == "__main__":
    main()
