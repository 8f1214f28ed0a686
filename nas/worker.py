"""Evaluates one architecture at a time: build, measure, train, keep the weights. Runs in the search or in a Ray actor.

Whatever goes wrong in here ends as an Outcome with its reason; a campaign never stops for a trial.
"""

import getpass
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from evaluators.data import Dataset, load_dataset
from evaluators.latency.lease import DeviceLease
from evaluators.latency.measure import LatencySettings, measure_latency
from evaluators.proxy_training import ProxyTraining, Recipe, TrainingFailed, evaluate_accuracy
from nas.campaign import Campaign
from nas.errors import refusal
from nas.genotype import Genotype
from nas.state_file import read_state, write_state
from nas.trial import Job, Outcome, Point
from nas.trial_energy import TrialEnergy, energy_of
from search_spaces.model import build


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Costs found on the way, so that they can be recorded before training begins.

    mj: energy where it is asked for. counted: by the hardware, or else from the latency, whose interval it shares.
    """

    ms: float
    low: float
    high: float
    mj: float | None = None
    counted: bool = False

    def costs(self) -> dict[str, tuple[float, float, float]]:
        """metric -> (value, low, high); low and high are the value where there is no interval."""
        found = {"latency_ms": (self.ms, self.low, self.high)}
        if self.mj is None:
            return found
        low, high = (self.ms, self.ms) if self.counted else (self.low, self.high)
        return found | {"energy_mj": (self.mj, self.mj * low / self.ms, self.mj * high / self.ms)}

    @property
    def finite(self) -> bool:
        """Whether the record can hold it."""
        return all(map(math.isfinite, (self.ms, self.low, self.high, self.mj or 0.0)))


Step = Measured | Point | Outcome


class Worker:
    """Holds what trials share: the decoded data, the device, the lease that keeps measuring and training apart."""

    def __init__(self, campaign: Campaign, folder: Path) -> None:
        self.campaign, self.folder = campaign, folder
        self.device = resolve_device(campaign.execution.device)
        self.dataset = dataset_of(campaign)
        self.lease = DeviceLease(lease_path(self.device))
        self.energy = TrialEnergy(self.device, campaign)
        if self.device == "cpu":
            torch.set_num_threads(max(1, int(campaign.execution.cpus)))

    def steps(self, job: Job) -> Iterator[Step]:
        """Measurements and learning-curve points as they come, then the Outcome as the last item."""
        self.energy.begin()
        for step in self._guarded(job):
            joules = self.energy.joules()
            yield replace(step, joules=joules) if isinstance(step, Outcome) else step

    def _guarded(self, job: Job) -> Iterator[Step]:
        """Trouble of any kind becomes an Outcome."""
        trace = _Trace()
        try:
            yield from self._evaluate(job, trace)
        except TrainingFailed as error:
            yield trace.outcome("failed", error=str(error))
        except (MemoryError, torch.OutOfMemoryError) as error:
            yield trace.outcome("failed", error=f"out of memory: {_first_line(error)}")
        except Exception as error:
            refused = refusal(error) if isinstance(error, OSError) else None
            words = refused or f"{type(error).__name__}: {_first_line(error)}"
            yield trace.outcome("failed" if refused is None else "refused", error=words)

    def _evaluate(self, job: Job, trace: "_Trace") -> Iterator[Step]:
        with trace.phase("setup"):
            network = self._build(job)
        if self.campaign.measured():
            if job.latency is None:
                measured = self._measure(network, trace)
                yield measured
            else:
                measured = Measured(**job.latency)
            trace.take(measured, self.campaign.measured())
            broken = self._broken(job, trace.values)
            if broken is not None:
                yield trace.outcome("infeasible", error=broken)
                return
        yield from self._train(job, network, trace)

    def _build(self, job: Job) -> nn.Module:
        drop_path = self.campaign.training.drop_path
        return _network(job.genotype, self.dataset, self.device, drop_path=drop_path, seed=job.seed)

    def _measure(self, network: nn.Module, trace: "_Trace") -> Measured:
        start = time.perf_counter()
        with self.lease.exclusive():
            trace.seconds["wait"] = time.perf_counter() - start
            with trace.phase("measure"):
                return self._costs(network)

    def _costs(self, network: nn.Module) -> Measured:
        data, batch = self.dataset, self.campaign.latency.batch
        found = measure_latency(
            {"": network}, in_chans=data.in_chans, image_size=data.image_size, device=self.device,
            settings=latency_settings(self.campaign), seed=self.campaign.seed,
        )[""]  # fmt: skip
        latency = Measured(ms=found.ms, low=found.low, high=found.high)
        if "energy_mj" not in self.campaign.measured():
            return latency
        images = torch.zeros((batch, data.in_chans, data.image_size, data.image_size), device=self.device)
        mj, counted = energy_of(network, images, found.ms, self.campaign)
        return replace(latency, mj=mj, counted=counted)

    def _train(self, job: Job, network: nn.Module, trace: "_Trace") -> Iterator[Step]:
        minutes = self.campaign.execution.trial_minutes
        training = ProxyTraining(
            network,
            self.dataset,
            recipe_of(self.campaign),
            device=self.device,
            seed=job.seed,
            lease=self.lease,
            deadline_s=None if minutes is None else 60 * minutes,
        )
        if job.training_state is not None:
            with trace.phase("setup"):
                training.load_state(*read_state(self.folder / job.training_state))
        run, waited = training.run(), 0.0
        while True:
            with trace.phase("train"):
                point = next(run, None)
            trace.move("train", "wait", training.waited_s - waited)
            waited = training.waited_s
            trace.notes = tuple(training.notes)
            if point is None:
                break
            trace.curve.append(point)
            yield point
            if point.epoch == job.until:
                with trace.phase("setup"):
                    kept = self._keep_state(job, training)
                yield trace.outcome("paused", checkpoint=kept)
                return
        trace.values["accuracy"] = trace.curve[-1].accuracy
        with trace.phase("setup"):
            checkpoint = self._save(job, training.network)
        broken = self._broken(job, trace.values)
        yield trace.outcome("complete" if broken is None else "infeasible", error=broken, checkpoint=checkpoint)

    def _save(self, job: Job, network: nn.Module) -> str:
        """Weights to checkpoints/, whole or not at all."""
        relative = f"checkpoints/trial-{job.trial:04d}.safetensors"
        path = self.folder / relative
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}, partial)
        partial.replace(path)
        return relative

    def _keep_state(self, job: Job, training: ProxyTraining) -> str:
        """The training to checkpoints/; a name of its own, so that the record never points at another epoch."""
        relative = f"checkpoints/trial-{job.trial:04d}.epoch-{job.until:04d}.state.safetensors"
        (self.folder / relative).parent.mkdir(exist_ok=True)
        write_state(self.folder / relative, *training.state())
        return relative

    def _broken(self, job: Job, values: dict[str, float]) -> str | None:
        """The first constraint that a measured value breaks, in words. References are drawn whatever they cost."""
        if job.kind == "reference":
            return None
        for constraint in self.campaign.constraint_list:
            value = values.get(constraint.metric)
            if value is not None and not constraint.holds(value):
                return f"{constraint} is broken: {value:.4g}"
        return None


class _Trace:
    """What has been found so far in a trial, so that a failure loses none of it."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.intervals: dict[str, tuple[float, float]] = {}
        self.seconds: dict[str, float] = {}
        self.curve: list[Point] = []
        self.notes: tuple[str, ...] = ()

    def phase(self, name: str) -> "_Phase":
        return _Phase(self.seconds, name)

    def move(self, source: str, target: str, seconds: float) -> None:
        """Time that was counted as one thing and was another."""
        self.seconds[source] -= seconds
        self.seconds[target] = self.seconds.get(target, 0.0) + seconds

    def take(self, measured: Measured, names: tuple[str, ...]) -> None:
        """Keep the costs that are asked for."""
        for name, (value, low, high) in measured.costs().items():
            if name in names:
                self.values[name] = value
                self.intervals |= {name: (low, high)} if low < high else {}

    def outcome(self, state: str, *, error: str | None = None, checkpoint: str | None = None) -> Outcome:
        return Outcome(
            state=state,
            values=dict(self.values),
            intervals=dict(self.intervals),
            curve=tuple(self.curve),
            seconds={k: round(v, 4) for k, v in self.seconds.items()},
            notes=self.notes,
            error=error,
            checkpoint=checkpoint,
        )


class _Phase:
    """Adds the wall time of a with-block to one entry of a dict."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] = self.seconds.get(self.name, 0.0) + time.perf_counter() - self.start


def dataset_of(campaign: Campaign) -> Dataset:
    """The data of a campaign; its seed fixes the validation split."""
    data = campaign.data
    return load_dataset(
        data.source,
        image_size=data.image_size,
        in_chans=data.in_chans,
        validation=data.validation,
        limit=data.limit,
        seed=campaign.seed,
    )


def recipe_of(campaign: Campaign) -> Recipe:
    return Recipe(**campaign.training.model_dump())


def resolve_device(wanted: str) -> str:
    """ "auto" is CUDA where there is one, else the CPU."""
    if wanted != "auto":
        return wanted
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def lease_path(device: str) -> Path:
    """One lease per device and machine, shared by all campaigns of a user."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if device.startswith("cuda") else ""
    name = f"vitnas-{getpass.getuser()}-{device}{visible}.lease"
    return Path(tempfile.gettempdir()) / re.sub(r"[^\w.-]", "", name)


def _network(genotype: dict[str, Any], data: Dataset, device: str, **options: Any) -> nn.Module:
    """The network of a genotype in JSON for these pictures, on the device."""
    parsed = Genotype.from_json(genotype)
    shape = {"image_size": data.image_size, "in_chans": data.in_chans, "classes": data.classes}
    return build(parsed, **shape, **options).to(device)


def latency_settings(campaign: Campaign) -> LatencySettings:
    return LatencySettings(**campaign.latency.model_dump(exclude={"watts"}))


def accuracies_on_test(
    campaign: Campaign, folder: Path, members: dict[int, tuple[dict[str, Any], str]]
) -> dict[int, float]:
    """Accuracy on the test split from kept weights: trial number -> (genotype, checkpoint). Empty if there is none."""
    from safetensors.torch import load_file

    device, data = resolve_device(campaign.execution.device), dataset_of(campaign)
    if data.test_x is None or data.test_y is None:
        return {}
    found = {}
    for number, (genotype, checkpoint) in members.items():
        network = _network(genotype, data, device)
        network.load_state_dict(load_file(folder / checkpoint))
        found[number] = evaluate_accuracy(network, data.test_x, data.test_y, data, device=device, batch_size=256)
    return found


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else "no message"
