"""Devices that follow a law: networks drawn from a space, and times of which the answer is known."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from evaluators.device_profile.features import unit_cost
from evaluators.device_profile.profile import DeviceProfile
from evaluators.device_profile.records import NetworkRecord, Records, SessionRecord, Subject, UnitRecord
from evaluators.device_profile.region import Area, Region
from evaluators.device_profile.units import Placed, Unit
from evaluators.latency.conditions import Conditions

HERE = Conditions(
    device="made-up", kind="cpu", threads=1, batch=1, in_chans=1, image_size=(8, 8), dtype="float32", runtime="eager",
    versions=(("torch", "9"),),
)  # fmt: skip
NARROW = {
    "topology": ["plain"], "position": ["none"], "reduction": ["none"], "plain.mixer_a": ["softmax", "linear"],
    "plain.mixer_b": ["same"], "plain.ffn": ["mlp"], "plain.local": ["none"],
}  # fmt: skip
DIGITS = Region(areas=(Area(space="vit_small", image_sizes=(8, 16), narrow=NARROW),), in_chans=(1,), classes=(10,))


@lru_cache
def drawn(space: str, image_size: int, count: int, seed: int = 0) -> tuple[Subject, ...]:
    """Random networks of a whole space."""
    region = Region(areas=(Area(space=space, image_sizes=(image_size,)),), in_chans=(3,), classes=(10,))
    return tuple(region.draw(rng) for rng in [np.random.default_rng(seed)] for _ in range(count))


@lru_cache
def digits(count: int, seed: int = 0) -> tuple[Subject, ...]:
    """Random networks of DIGITS, which has few families."""
    rng = np.random.default_rng(seed)
    return tuple(DIGITS.draw(rng) for _ in range(count))


def unit_ms(unit: Unit, quick: float = 2e7) -> float:
    """The law: a start, MACs at `quick` a millisecond, activations."""
    cost = unit_cost(unit)
    return 0.01 + cost.macs / quick + cost.activations / 5e6


def network_ms(placed: Sequence[Placed], quick: float = 2e7) -> float:
    """A tenth more than its units."""
    return 1.1 * sum(p.times * unit_ms(p.unit, quick) for p in placed)


def kept_mb(unit: Unit) -> float:
    return 4e-6 * unit_cost(unit).activations


def records(networks: Sequence[Subject], tested: Sequence[Subject] = (), noise: float = 0.01) -> Records:
    """All units of `networks`, those networks, and others to test on, measured twice."""
    rng = np.random.default_rng(3)

    def times(ms: float) -> dict[str, Any]:
        return {"ms": ms * float(np.exp(noise * rng.normal())), "low": ms / 2, "high": ms * 2, "rounds": 20}

    different = dict.fromkeys(p.unit for subject in networks for p in subject.units())
    return Records(
        sessions=[
            SessionRecord(at=0.0, seconds=9.0, reference_ms=1.0, drift=0.0, disturbed=0.0, notes=[]) for _ in range(2)
        ],
        units=[
            UnitRecord(unit=u, session=0, kept_mb=kept_mb(u), **times(unit_ms(u))) for u in different
        ],
        networks=[
            NetworkRecord(
                subject=s, role=role, session=session, **times(network_ms(s.units())),
                memory={"inference": 1.0 + s.genotype.stages[0].width / 10, "training": 4.0},
            )
            for role, session, group in (("learn", 0, networks), ("test", 0, tested), ("test", 1, tested))
            for s in group
        ],
    )  # fmt: skip


@lru_cache
def profile() -> DeviceProfile:
    """Of 90 networks of DIGITS; fitted once for all tests, which must not change it."""
    return DeviceProfile("made-up", HERE, DIGITS, records(digits(90), digits(12, seed=1))).fit()
