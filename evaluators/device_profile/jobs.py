"""Units and networks as jobs of the measuring process, and what comes back as records."""

from evaluators.device_profile.records import NetworkRecord, Subject, UnitRecord
from evaluators.device_profile.unit_network import input_size
from evaluators.device_profile.units import Unit
from evaluators.latency.isolated import MeasureJob, Measurement


def unit_job(name: str, unit: Unit) -> MeasureJob:
    channels, height, width = input_size(unit)
    return MeasureJob(
        name=name, make="evaluators.device_profile.unit_network:unit_network", arguments={"unit": unit.to_json()},
        image_size=(height, width), in_chans=channels,
    )  # fmt: skip


def network_job(name: str, subject: Subject) -> MeasureJob:
    inputs = {"image_size": list(subject.image_size), "in_chans": subject.in_chans, "classes": subject.classes}
    return MeasureJob(
        name=name, arguments={"genotype": subject.genotype.to_json(), **inputs}, image_size=subject.image_size,
        in_chans=subject.in_chans,
    )  # fmt: skip


def unit_record(unit: Unit, found: Measurement, session: int) -> UnitRecord:
    assert found.latency is not None
    kept = next((m.mb for m in found.memory if m.phase == "kept"), None)
    return UnitRecord(
        unit=unit, session=session, ms=found.latency.ms, low=found.latency.low, high=found.latency.high,
        rounds=found.latency.rounds, kept_mb=kept,
    )  # fmt: skip


def network_record(subject: Subject, role: str, found: Measurement, session: int) -> NetworkRecord:
    """Energy that is only estimated follows from the latency and is not kept."""
    assert found.latency is not None
    counted = found.energy is not None and found.energy.label == "measured"
    return NetworkRecord(
        subject=subject, role=role, session=session, ms=found.latency.ms, low=found.latency.low,
        high=found.latency.high, rounds=found.latency.rounds, memory={m.phase: m.mb for m in found.memory},
        energy=found.energy.to_json() if found.energy is not None and counted else None,
    )  # fmt: skip
