"""What was measured for a profile, as plain records: sessions, units, whole networks."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

import numpy as np

from evaluators.device_profile.features import unit_cost
from evaluators.device_profile.units import Placed, Unit, units
from nas.errors import UserError
from nas.genotype import Genotype
from search_spaces.plan import plan

ROLES = ("learn", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """One measuring process. at: seconds since the epoch. reference_ms: of the reference network on the undisturbed
    device; drift and disturbed: see evaluators.latency.judgement."""

    at: float
    seconds: float
    reference_ms: float | None
    drift: float
    disturbed: float
    notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRecord:
    """Milliseconds of a unit with their 90 % interval; kept_mb: what it keeps for a backward pass, or None."""

    unit: Unit
    session: int
    ms: float
    low: float
    high: float
    rounds: int
    kept_mb: float | None = None

    def to_json(self) -> dict[str, Any]:
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "unit"}
        return {**self.unit.to_json(), **rest}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        rest = {k: v for k, v in data.items() if k not in ("part", "atoms", "numbers")}
        return cls(unit=Unit.from_json(data), **rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network with its input."""

    genotype: Genotype
    image_size: tuple[int, int]
    in_chans: int
    classes: int

    def units(self) -> list[Placed]:
        """What it is made of."""
        return units(plan(self.genotype, image_size=self.image_size, in_chans=self.in_chans, classes=self.classes))


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRecord:
    """A whole network, measured to learn from or to test on. memory: MB by phase. energy: mJ, label, method."""

    subject: Subject
    role: str
    session: int
    ms: float
    low: float
    high: float
    rounds: int
    memory: dict[str, float] = field(default_factory=dict)
    energy: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "subject"}
        s = self.subject
        inputs = {"image_size": list(s.image_size), "in_chans": s.in_chans, "classes": s.classes}
        return {"genotype": s.genotype.to_json(), **inputs, **rest}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        own = {f.name for f in fields(Subject)}
        height, width = data["image_size"]
        subject = Subject(
            genotype=Genotype.from_json(data["genotype"]), image_size=(height, width), in_chans=data["in_chans"],
            classes=data["classes"],
        )  # fmt: skip
        return cls(subject=subject, **{k: v for k, v in data.items() if k not in own})


@dataclass(slots=True, kw_only=True)
class Records:
    """All there is; grows by whole sessions. failed: what could not be measured, family or network -> error."""

    sessions: list[SessionRecord] = field(default_factory=list)
    units: list[UnitRecord] = field(default_factory=list)
    networks: list[NetworkRecord] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "sessions": [asdict(s) for s in self.sessions],
            "units": [u.to_json() for u in self.units],
            "networks": [n.to_json() for n in self.networks],
            "failed": dict(self.failed),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str) -> Self:
        """Raises UserError naming the entry that cannot be read. where: what the error begins with."""
        found = cls(failed=_typed(data.get("failed", {}), dict, f"{where}: failed"))
        kinds: dict[str, Any] = {"units": UnitRecord.from_json, "networks": NetworkRecord.from_json}
        kinds["sessions"] = lambda entry: SessionRecord(**entry)
        for name, read in kinds.items():
            for i, each in enumerate(_typed(data.get(name, []), list, f"{where}: {name}")):
                try:
                    getattr(found, name).append(_checked(read(each)))
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    raise UserError(f"{where}: {name}[{i}] is damaged ({error}); make the profile again") from None
        return found

    def learnt(self) -> list[NetworkRecord]:
        return [n for n in self.networks if n.role == "learn"]

    def tested(self) -> list[NetworkRecord]:
        return [n for n in self.networks if n.role == "test"]

    def until(self, session: int) -> "Records":
        """What was there before a session."""
        return Records(
            sessions=self.sessions[:session],
            units=[u for u in self.units if u.session < session],
            networks=[n for n in self.networks if n.session < session],
        )


def unit_times(records: Iterable[UnitRecord]) -> dict[Unit, float]:
    """Milliseconds of every unit; of those measured in several sessions the geometric mean."""
    logs: dict[Unit, list[float]] = {}
    for record in records:
        logs.setdefault(record.unit, []).append(float(np.log(record.ms)))
    return {unit: float(np.exp(np.mean(values))) for unit, values in logs.items()}


def network_times(records: Sequence[NetworkRecord]) -> dict[Subject, float]:
    """Milliseconds of every network; of those measured in several sessions the geometric mean."""
    logs: dict[Subject, list[float]] = {}
    for record in records:
        logs.setdefault(record.subject, []).append(float(np.log(record.ms)))
    return {subject: float(np.exp(np.mean(values))) for subject, values in logs.items()}


def _checked(record: Any) -> Any:
    """Raises KeyError, TypeError or ValueError for what cannot have been measured."""
    if isinstance(record, UnitRecord):
        unit_cost(record.unit)  # asks for all that a unit is made of
    if isinstance(record, NetworkRecord) and record.role not in ROLES:
        raise ValueError(f"role: {record.role!r} is not {' or '.join(ROLES)}")
    if not isinstance(record, SessionRecord) and not record.ms > 0:
        raise ValueError(f"ms: {record.ms!r} is no latency")
    for name in ("seconds", "reference_ms", "ms", "low", "high", "kept_mb"):
        _refuse_impossible(name, getattr(record, name, None))
    for phase, mb in getattr(record, "memory", {}).items():
        _refuse_impossible(f"memory.{phase}", mb)
    return record


def _refuse_impossible(name: str, value: Any) -> None:
    if value is not None and not 0 <= value < float("inf"):
        raise ValueError(f"{name}: {value!r} is out of range")


def _typed(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise UserError(f"{where} is damaged (found {value!r}); make the profile again")
    return value
