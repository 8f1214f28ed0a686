"""The profiles of a campaign: read from their files, or made on the spot before the search begins."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluators.data import Dataset
from evaluators.latency.conditions import Conditions
from evaluators.latency.lease import DeviceLease
from nas.campaign import Campaign
from nas.errors import UserError
from nas.objective import split_name
from nas.settings import SourceSettings
from nas.status_line import StatusLine
from nas.worker import lease_path

if TYPE_CHECKING:
    from evaluators.device_profile.profile import DeviceProfile
    from evaluators.device_profile.region import Region

MADE_HERE = "profile.json"  # in the run folder, where a campaign names no file
UNFINISHED = 0.5  # a profile that lacks this share of its minutes was stopped and goes on
_SAME_DEVICE = ("device", "kind", "threads", "batch", "dtype", "runtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """The profiles that a campaign predicts by. files: metric -> where its profile lies. here: of the campaign."""

    by_metric: dict[str, "DeviceProfile"] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    here: Conditions

    def at_hand(self, name: str) -> bool:
        """Whether this machine is what the profile of a metric describes; so for every metric without a profile."""
        profile = self.by_metric.get(name)
        return not split_name(name)[1] and (profile is None or self._of_here(profile))

    def training_device(self) -> "DeviceProfile | None":
        """A profile of the device that trains."""
        return next((p for n, p in self.by_metric.items() if not split_name(n)[1] and self._of_here(p)), None)

    def facts(self) -> dict[str, dict[str, Any]]:
        """What a record says of them; the fingerprint tells whether a file has changed."""
        return {
            name: {
                "file": str(self.files[name]),
                "fingerprint": hashlib.sha256(self.files[name].read_bytes()).hexdigest()[:12],
                "device": profile.conditions.device,
                "runtime": profile.conditions.runtime,
                "energy": ", ".join(profile.energy),
            }
            for name, profile in self.by_metric.items()
        }

    def refuse_others(self, campaign: Campaign, data: Dataset) -> None:
        """Raise UserError for a profile of another space or of other pictures, unless it is forced."""
        size = (data.image_size, data.image_size)
        for name, profile in self.by_metric.items():
            spaces = sorted({area.space for area in profile.region.areas})
            beyond = profile.region.outside(size, data.in_chans, data.classes)
            if campaign.space.name not in spaces:
                beyond.append(f"space: {campaign.space.name} is not {' or '.join(spaces)}")
            if beyond and not campaign.sources[name].force:
                raise UserError(
                    f"sources.{name}.file: {self.files[name]}: made for something else; {'; '.join(beyond)}; make one "
                    f"with nas profile --campaign, or set sources.{name}.force: true"
                )

    def _of_here(self, profile: "DeviceProfile") -> bool:
        return all(getattr(profile.conditions, name) == getattr(self.here, name) for name in _SAME_DEVICE)


def read_profiles(campaign: Campaign, here: Conditions, folder: Path | None = None) -> Profiles:
    """Those that are there already; a campaign's run folder is looked at where one is given. Raises UserError."""
    files = {name: profile_file(source, folder) for name, source in campaign.predicted().items()}
    there = {name: path for name, path in files.items() if path is not None and path.is_file()}
    found = {name: _read(name, path, campaign, here) for name, path in there.items()}
    return Profiles(by_metric=found, files=there, here=here)


def make_missing_profiles(
    campaign: Campaign, data: Dataset, here: Conditions, folder: Path, device: str, line: StatusLine
) -> None:
    """Profile this device for what the campaign asks to have made, once for each file; an unfinished one goes on."""
    longest: dict[Path, float] = {}
    for source in campaign.predicted().values():
        path = profile_file(source, folder)
        if path is not None and source.minutes is not None:
            longest[path] = max(longest.get(path, 0.0), source.minutes)
    for path, minutes in longest.items():
        left = minutes - minutes_spent(path)
        if left > UNFINISHED * minutes:
            path.parent.mkdir(parents=True, exist_ok=True)
            _profile_this_device(campaign, data, here, path, left, device, line)


def minutes_spent(path: Path) -> float:
    """That went into a profile so far: 0 without a file, no end for one that says nothing of its sessions."""
    if not path.is_file():
        return 0.0
    try:
        return sum(session["seconds"] for session in json.loads(path.read_text())["sessions"]) / 60
    except (ValueError, KeyError, TypeError):
        return float("inf")  # damaged or of another kind: whoever reads it says so


def profile_file(source: SourceSettings, folder: Path | None) -> Path | None:
    """Where a source's profile lies or will lie; None for one in a run folder that is not known yet."""
    if source.file is not None:
        return Path(source.file)
    return None if folder is None else folder / MADE_HERE


def _profile_this_device(
    campaign: Campaign, data: Dataset, here: Conditions, path: Path, minutes: float, device: str, line: StatusLine
) -> None:
    """Alone on the device, as every measurement."""
    from evaluators.device_profile.profiling import Order, make_profile

    order = Order(
        region=region_of(campaign, data), conditions=here, device=device, seconds=60 * minutes, seed=campaign.seed,
        watts=campaign.latency.watts,
    )  # fmt: skip
    line.show(f"profiling this device for {minutes:.3g} min: {path}")
    with DeviceLease(lease_path(device)).exclusive():
        make_profile(order, path, line.progress)
    line.end()


def region_of(campaign: Campaign, data: Dataset) -> "Region":
    """The campaign's space with its restrictions, at the size, channels and classes of its pictures."""
    from evaluators.device_profile.region import Area, Region

    space = campaign.space
    narrow = {name: list(choices) for name, choices in space.narrow.items()}
    area = Area(space=space.name, image_sizes=(data.image_size,), fix=dict(space.fix), narrow=narrow)
    return Region(areas=(area,), in_chans=(data.in_chans,), classes=(data.classes,))


def _read(name: str, path: Path, campaign: Campaign, here: Conditions) -> "DeviceProfile":
    """A profile of another device is asked for the campaign's batch alone, one of this device for all conditions."""
    from evaluators.device_profile.profile_file import read_profile

    source, device = campaign.sources[name], split_name(name)[1]
    try:
        profile = read_profile(path, asked=None if device else here, force=source.force)
    except UserError as error:
        words = str(error).replace("--force", f"sources.{name}.force: true")  # the words of nas predict
        raise UserError(f"sources.{name}.file: {words}") from None
    if split_name(name)[0] == "memory_mb" and not profile.predicts_memory:
        raise UserError(f"sources.{name}.file: {path}: no memory was measured for this profile; make it again")
    batch = profile.conditions.batch
    if batch != here.batch and not source.force:
        raise UserError(
            f"sources.{name}.file: {path}: profiled at batch {batch}, and latency.batch asks for {here.batch}; "
            f"set that, or force: true"
        )
    return profile
