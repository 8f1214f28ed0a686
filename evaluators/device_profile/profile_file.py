"""DEVICE.json: a profile as plain JSON, raw measurements beside what was learnt from them.

    format, version   "vitnas-device-profile", 1
    conditions        device, kind, threads, batch, in_chans, image_size, dtype, runtime, versions
    region            spaces with image sizes, channels and classes that were profiled
    watts             power of the device, where the user gave it
    sessions          one a line: when, how long, the reference network, drift
    units, networks   one a line: words and numbers that say what it is, milliseconds with interval, memory, energy
    failed            what could not be measured, and why
    models            hyperparameters; the rest of the predictors follows from the measurements
    accuracy          on networks that the predictors had not seen, and the noise ceiling
    origin            the whole profile of the other device, where this one adapts it

Nothing in it is executed when it is read.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from evaluators.device_profile.profile import DeviceProfile
from evaluators.device_profile.records import Records
from evaluators.device_profile.region import Region
from evaluators.latency.conditions import Conditions, differences
from nas.errors import UserError

FORMAT, VERSION = "vitnas-device-profile", 1
FORCED = 2.0  # times the logarithm of all intervals, where a profile is used for conditions that are not its own
LISTS = ("sessions", "units", "networks")


def write_profile(profile: DeviceProfile, path: Path, accuracy: dict[str, Any] | None = None) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(_lines(_content(profile, accuracy)))
    partial.replace(path)


def read_profile(path: Path | str, *, asked: Conditions | None = None, force: bool = False) -> DeviceProfile:
    """Raises UserError for a file that is missing or damaged, and for one made under other conditions than asked.

    force: use it all the same, say so on stderr and widen its intervals. Image size and channels of the conditions are
    not compared: the region says which are covered.
    """
    path = Path(path)
    profile = _profile(read_content(path), path.stem, str(path))
    different = [] if asked is None else unlike(asked, profile.conditions)
    if different and not force:
        raise UserError(f"{path}: made under other conditions; {'; '.join(different)}; --force uses it all the same")
    if not different:
        return profile
    print(f"warning: {path}: {'; '.join(different)}; intervals are widened", file=sys.stderr)
    return profile.relative(FORCED)


def read_content(path: Path) -> dict[str, Any]:
    """The JSON of a profile, its format checked."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such profile; make one with: nas profile -o {path}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a profile ({error}); make it again with nas profile") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: not a device profile; make one with: nas profile -o FILE.json")
    if content.get("version") != VERSION:
        raise UserError(f"{path}: version {content.get('version')!r} of the format; this vitnas reads {VERSION}")
    _refuse_missing(content, str(path))
    return content


def unlike(asked: Conditions, found: Conditions) -> list[str]:
    """What differs of the device, the runtime and the versions, in words."""
    return differences(asked, _with_input_of(asked, found))


def _with_input_of(asked: Conditions, found: Conditions) -> Conditions:
    return replace(found, image_size=asked.image_size, in_chans=asked.in_chans)


def _profile(content: dict[str, Any], name: str, where: str) -> DeviceProfile:
    _refuse_missing(content, where)
    origin, watts = content.get("origin"), content.get("watts")
    if not isinstance(watts, int | float | None):
        raise UserError(f"{where}: watts: {watts!r} is no number; make it again with nas profile")
    profile = DeviceProfile(
        name, Conditions.from_json(content["conditions"], f"{where}: conditions"),
        Region.from_json(content["region"], where), Records.from_json(content, where), watts=watts,
        origin=_profile(origin, f"{name} (origin)", f"{where}: origin") if origin else None,
    )  # fmt: skip
    try:
        return profile.fit(content["models"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: models are damaged ({error}); make it again with nas profile") from None


def _refuse_missing(content: dict[str, Any], where: str) -> None:
    missing = [key for key in ("conditions", "region", "models", *LISTS) if key not in content]
    if missing:
        raise UserError(f"{where}: {missing[0]} is missing; the file is damaged, make it again with nas profile")
    if not isinstance(content["models"], dict):
        raise UserError(f"{where}: models are damaged (found {content['models']!r}); make it again with nas profile")


def _content(profile: DeviceProfile, accuracy: dict[str, Any] | None) -> dict[str, Any]:
    content = {
        "format": FORMAT, "version": VERSION, "conditions": profile.conditions.to_json(),
        "region": asdict(profile.region), "watts": profile.watts, "accuracy": accuracy, "models": profile.state(),
        **profile.records.to_json(),
    }  # fmt: skip
    return content | ({"origin": _content(profile.origin, None)} if profile.origin else {})


def _lines(content: dict[str, Any]) -> Iterator[str]:
    """JSON with a line for every key, and within the long lists for every entry."""
    yield "{\n"
    for i, (key, value) in enumerate(content.items()):
        yield (",\n" if i else "") + f"{json.dumps(key)}: "
        if key in LISTS and value:
            yield "[\n" + ",\n".join(json.dumps(entry) for entry in value) + "\n]"
        else:
            yield json.dumps(value)
    yield "\n}\n"
