"""How good a profile is, on networks that it was not learnt from, beside how well a measurement repeats itself."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from evaluators.device_profile.profile import DeviceProfile, Estimate
from evaluators.device_profile.records import NetworkRecord, Records, Subject, network_times
from evaluators.latency.noise import noise_ceiling
from evaluators.prediction.scores import score

FEWEST = 5  # networks to test on
FEWEST_SESSIONS = 4  # from here it is asked what the first half of them would have given


def accuracy_of(profile: DeviceProfile) -> dict[str, Any]:
    """Plain data; what cannot be said yet is None.

    networks: how many were held out. scores: see evaluators.prediction.scores. covered: share inside their 90 %
    interval. half: scores of a profile from the first half of the sessions. twice_rmspe: RMSPE after twice the time, if
    it goes on falling as it did from the half to the whole, though not below the noise. ceiling: one measurement as a
    prediction of the next.
    """
    tested = network_times(profile.records.tested())
    ceiling = _ceiling(profile.records.tested())
    if len(tested) < FEWEST:
        return {"networks": len(tested), "scores": None, "covered": None, "half": None, "twice_rmspe": None} | ceiling
    scores, covered = _scored(unseeing(profile, profile.records), tested)
    half = _half(profile, tested)
    return {
        "networks": len(tested), "scores": scores, "covered": covered, "half": half,
        "twice_rmspe": _extrapolated(scores, half, ceiling["ceiling"]), **ceiling,
    }  # fmt: skip


def unseeing(profile: DeviceProfile, records: Records) -> DeviceProfile:
    """A profile from these records without the networks that it is tested on."""
    learnt = replace(records, networks=records.learnt())
    other = DeviceProfile(
        profile.name, profile.conditions, profile.region, learnt, watts=profile.watts, origin=profile.origin
    )
    same_units = len(records.units) == len(profile.records.units)
    return other.fit({"units": profile.state().get("units")} if same_units else None)


def predicted(profile: DeviceProfile, subjects: Sequence[Subject]) -> Estimate:
    return profile.estimate(subjects, [subject.units() for subject in subjects])


def _scored(profile: DeviceProfile, tested: dict[Subject, float]) -> tuple[dict[str, float], float]:
    found, measured = predicted(profile, list(tested)), np.array(list(tested.values()))
    covered = float(np.mean((found.low <= measured) & (measured <= found.high)))
    return asdict(score(found.mean, measured)), covered


def _half(profile: DeviceProfile, tested: dict[Subject, float]) -> dict[str, float] | None:
    """None where half of the sessions are too few to learn from."""
    sessions = len(profile.records.sessions)
    before = profile.records.until((sessions + 1) // 2)
    if sessions < FEWEST_SESSIONS or profile.origin is not None or not before.units:
        return None
    return _scored(unseeing(profile, before), tested)[0]


def _extrapolated(
    scores: dict[str, float], half: dict[str, float] | None, ceiling: dict[str, Any] | None
) -> float | None:
    if half is None or half["rmspe"] <= 0:
        return None
    twice = scores["rmspe"] * min(1.0, scores["rmspe"] / half["rmspe"])
    floor = ceiling["scores"]["rmspe"] / np.sqrt(2) if ceiling else 0.0  # of two measurements; one has this much
    return float(max(twice, min(floor, scores["rmspe"])))


def _ceiling(tested: Sequence[NetworkRecord]) -> dict[str, Any]:
    """From the networks that were measured in more than one session."""
    sessions: dict[int, dict[str, float]] = {}
    names: dict[Subject, str] = {}
    for record in tested:
        name = names.setdefault(record.subject, str(len(names)))
        sessions.setdefault(record.session, {})[name] = record.ms
    try:
        return {"ceiling": noise_ceiling(list(sessions.values())).to_json()}
    except ValueError:
        return {"ceiling": None}
