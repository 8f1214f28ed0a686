"""Campaigns that cost nothing and profiles of devices that do not exist, shared by the tests of the search."""

import json
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from evaluators.cost import cost_metrics
from evaluators.latency.conditions import Conditions, conditions_here, differences
from nas import cli
from nas.campaign import Campaign
from nas.errors import UserError
from nas.genotype import Genotype
from nas.together import Together
from nas.worker import Measured

SHAPE = {"image_size": 8, "in_chans": 1, "classes": 10}  # of the digits


@pytest.fixture
def make_campaign() -> Callable[..., Campaign]:
    """A campaign on digits with exact objectives, serial unless said otherwise; keywords replace whole sections."""

    def make(trials: int = 8, **sections: Any) -> Campaign:
        data: dict[str, Any] = {
            "name": "test",
            "data": {"source": "digits"},
            "objectives": {"accuracy": "maximize", "macs_g": "minimize"},
            "sampler": {"name": "tpe", "startup": 4},
            "budget": {"trials": trials, "minutes": 10.0},
            "execution": {"backend": "inline"},
        }
        return Campaign.model_validate(data | sections)

    return make


class FakeProfile:
    """Latency is the MACs times a slope, ± `spread`; above `largest` GMAC is outside. calls: networks per question."""

    energy = ("estimated", "latency x 8 W")

    def __init__(self, name: str, conditions: Conditions, facts: dict[str, Any]) -> None:
        self.name, self.conditions, self.facts, self.calls = name, conditions, facts, list[int]()
        self.predicts_memory = facts.get("memory", True)
        areas = (types.SimpleNamespace(space=facts.get("space", "vit_small")),)
        self.region = types.SimpleNamespace(areas=areas, outside=lambda *shape: list(facts.get("beyond", ())))

    def latency(self, genotypes: Any, *, image_size: Any, in_chans: int, classes: int) -> Any:
        self.calls.append(len(genotypes))
        shape = {"image_size": image_size, "in_chans": in_chans, "classes": classes}
        macs = np.array([cost_metrics(g, **shape)["macs_g"] for g in genotypes])
        return self._estimate(self.facts["slope"] * macs, macs > self.facts.get("largest", np.inf))

    def energy_mj(self, genotypes: Any, **shape: Any) -> Any:
        found = self.latency(genotypes, **shape)
        return self._estimate(8 * found.mean, found.outside)

    def memory_mb(self, genotypes: Any, *, phase: str = "inference", batch: int = 1, **shape: Any) -> Any:
        each = self.facts.get("training_mb", 1.0) if phase == "training" else 2.0
        return self._estimate(np.full(len(genotypes), each * batch), np.zeros(len(genotypes), bool))

    def _estimate(self, mean: np.ndarray, outside: np.ndarray) -> Any:
        wider = np.where(outside, 2.0, 1.0) * self.facts.get("spread", 0.1)
        return types.SimpleNamespace(mean=mean, low=mean * (1 - wider), high=mean * (1 + wider), outside=outside)


@pytest.fixture
def fake_profiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Writes the files of such profiles; reading and making profiles knows these alone."""

    def read(path: Path, *, asked: Conditions | None = None, force: bool = False) -> FakeProfile:
        try:
            facts = json.loads(path.read_text())
        except ValueError:
            raise UserError(f"{path}: the file is damaged") from None
        own = conditions_here("cpu", image_size=8, in_chans=1)
        conditions = replace(own, **facts.get("conditions", {}))
        different = differences(asked, conditions) if asked else []
        if different and not force:
            raise UserError(
                f"{path}: made under other conditions; {'; '.join(different)}; --force uses it all the same"
            )
        return FakeProfile(path.stem, conditions, facts)

    def make(order: Any, path: Path, report: Any) -> Any:
        report("session 1", order.seconds)
        sessions = json.loads(path.read_text())["sessions"] if path.is_file() else []
        path.write_text(json.dumps({"slope": 100.0, "sessions": [*sessions, {"seconds": order.seconds}]}))
        return read(path)

    package, value = "evaluators.device_profile", types.SimpleNamespace
    parts_of = {
        "profile_file": {"read_profile": read}, "profiling": {"make_profile": make, "Order": value},
        "region": {"Area": value, "Region": value},
    }  # fmt: skip
    for name, parts in parts_of.items():
        module = types.ModuleType(f"{package}.{name}")
        module.__dict__.update(parts)
        monkeypatch.setitem(sys.modules, f"{package}.{name}", module)
    monkeypatch.setattr("nas.profiles.lease_path", lambda device: tmp_path / "lease")  # nobody else's measurement
    if package not in sys.modules:
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))

    def write(path: Path, slope: float = 100.0, **facts: Any) -> Path:
        path.write_text(json.dumps({"slope": slope} | facts))
        return path

    return write


class FakeSessions:
    """Sessions of a device that cost nothing: latency is the MACs times 110, with an interval of ± `width`.

    numbers, references: the trials of each session, and the reference times that it was given.
    """

    def __init__(self) -> None:
        self.width, self.numbers, self.references = 0.01, list[list[int]](), list[dict[str, float]]()

    def __call__(self, campaign: Campaign, genotypes: dict[str, Any], reference_ms: dict[str, float]) -> Together:
        self.numbers.append([int(n) for n in genotypes])
        self.references.append(dict(reference_ms))
        found = {number: self._measured(Genotype.from_json(g)) for number, g in genotypes.items()}
        return Together(found=found, errors={}, notes=(), device="a processor", reference_ms=0.5)

    def _measured(self, genotype: Genotype) -> Measured:
        ms = 110 * cost_metrics(genotype, **SHAPE)["macs_g"]
        return Measured(ms=ms, low=ms / (1 + self.width), high=ms * (1 + self.width), mj=8 * ms)


@pytest.fixture
def fake_sessions(monkeypatch: pytest.MonkeyPatch) -> FakeSessions:
    sessions = FakeSessions()
    monkeypatch.setattr("nas.finishing.measure_together", sessions)
    return sessions


@pytest.fixture
def nas(monkeypatch, capsys):
    """Run `nas`: (exit status, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nas", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run
