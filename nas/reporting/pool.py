"""The networks of a campaign's space with what is known of each before a trial, rebuilt from the record of a run."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import UserError
from nas.known_costs import Interval, KnownCosts
from nas.reporting.tables import space_of
from nas.run import Run
from nas.samplers.base import Knowledge
from nas.samplers.candidates import Pool

if TYPE_CHECKING:
    from evaluators.device_profile.profile import DeviceProfile


def pool_of(run: Run) -> Pool | None:
    """None where the space cannot be made any more. A cost whose profile is gone is left for the trials to tell."""
    space = space_of(run)
    if space is None:
        return None
    data, known = run.campaign.data, run.environment.get("data") or {}
    shape = {
        "image_size": data.image_size or known["image_size"], "in_chans": data.in_chans or known.get("in_chans", 3),
        "classes": known.get("classes", 10),
    }  # fmt: skip
    profiles = profiles_of(run)
    lost = run.campaign.predicted().keys() - profiles.keys()
    costs = _Costs(KnownCosts(shape, profiles, images=run.campaign.latency.batch), lost, run.scales)
    limits = [replace(c, bound=c.bound * run.scales.get(c.metric, 1.0)) for c in run.campaign.constraint_list]
    knowledge = Knowledge(
        costs=costs.values, intervals=costs.intervals, expect=costs.expect, constraints=tuple(limits),
        pictures=known.get("validation"),
    )  # fmt: skip
    return Pool(space, knowledge, run.campaign.seed)


def profiles_of(run: Run) -> "dict[str, DeviceProfile]":
    """Metric -> the profile that the campaign predicted it by, where its file is still there and the same."""
    found = {}
    for name, facts in (run.environment.get("profiles") or {}).items():
        try:
            content = Path(facts["file"]).read_bytes()
            if hashlib.sha256(content).hexdigest().startswith(facts["fingerprint"]):
                found[name] = _profile(facts["file"], facts["fingerprint"])
        except (OSError, UserError):
            continue
    return found


@lru_cache(maxsize=4)
def _profile(file: str, fingerprint: str) -> "DeviceProfile":
    """Read once for all that a page says of it."""
    from evaluators.device_profile.profile_file import read_profile

    return read_profile(Path(file))


class _Costs:
    """Of genotypes, as the trials of the run have them: predictions times what measurements in the end asked for."""

    def __init__(self, known: KnownCosts, lost: set[str], scales: dict[str, float]) -> None:
        self._known, self._lost, self._scales = known, lost, scales

    def values(self, genotype: Any) -> dict[str, float]:
        found = self._known.of(genotype)
        return {n: v * self._scale(n, found.predicted) for n, v in found.values.items() if n not in self._lost}

    def intervals(self, genotype: Any) -> dict[str, tuple[float, float]]:
        predicted = self._known.of(genotype).predicted
        scaled = {n: self._scale(n, predicted) for n in predicted}
        return {n: (scaled[n] * low, scaled[n] * high) for n, (_, low, high) in predicted.items()}

    def expect(self, genotypes: Sequence[Any]) -> None:
        self._known.many(genotypes)

    def _scale(self, name: str, predicted: dict[str, Interval]) -> float:
        return self._scales.get(name, 1.0) if name in predicted else 1.0
