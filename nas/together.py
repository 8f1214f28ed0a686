"""Networks of a campaign measured side by side in one session of a process of its own, on the campaign's device."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from evaluators.data import Dataset
from evaluators.latency.conditions import Conditions, conditions_here
from evaluators.latency.isolated import MeasureJob, Measurement, measure_isolated
from evaluators.latency.lease import DeviceLease
from nas.campaign import Campaign
from nas.worker import Measured, dataset_of, latency_settings, lease_path, resolve_device


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """One session. found: by name. errors: name -> why nothing was measured.

    device: the model's name. reference_ms: by which a later session is put on the same scale.
    """

    found: dict[str, Measured]
    errors: dict[str, str]
    notes: tuple[str, ...]
    device: str
    reference_ms: float | None


def conditions_of(campaign: Campaign, data: Dataset, device: str) -> Conditions:
    """The conditions under which a campaign measures latency."""
    return conditions_here(
        device, image_size=data.image_size, in_chans=data.in_chans, batch=campaign.latency.batch,
        threads=campaign.latency.threads,
    )  # fmt: skip


def measure_together(
    campaign: Campaign, genotypes: Mapping[str, dict[str, Any]], reference_ms: Mapping[str, float | None] | None = None
) -> Together:
    """Latency and energy of all networks, rounds interleaved, so that drift hits them alike.

    reference_ms: device -> the reference network in an earlier session.
    """
    device, data = resolve_device(campaign.execution.device), dataset_of(campaign)
    shape = {"image_size": data.image_size, "in_chans": data.in_chans, "classes": data.classes}
    jobs = [MeasureJob(name=name, arguments={"genotype": g, **shape}) for name, g in genotypes.items()]
    conditions = conditions_of(campaign, data, device)
    with DeviceLease(lease_path(device)).exclusive():
        found = list(
            measure_isolated(
                jobs, conditions, latency_settings(campaign), device=device, seed=campaign.seed, memory=(),
                watts=campaign.latency.watts, reference_ms=(reference_ms or {}).get(conditions.device),
            )
        )  # fmt: skip
    return Together(
        found={m.name: _measured(m) for m in found if m.latency is not None},
        errors={m.name: m.error or "not measured" for m in found if m.latency is None},
        notes=found[0].notes if found else (),
        device=conditions.device,
        reference_ms=found[0].reference_ms if found else None,
    )


def _measured(measurement: Measurement) -> Measured:
    latency, energy = measurement.latency, measurement.energy
    assert latency is not None
    found = Measured(ms=latency.ms, low=latency.low, high=latency.high)
    return found if energy is None else replace(found, mj=energy.mj, counted=energy.label == "measured")
