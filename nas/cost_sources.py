"""Where the costs of devices come from: measured here, or predicted by a profile; the section `sources` of a campaign.

A source may be written where its metric is: `latency_ms@phone: {source: profile, file: phone.json}` among the
objectives, with a `limit` among the constraints. `gathered` moves it to the section.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nas.campaign_errors import first_error
from nas.errors import UserError, nearest, unknown
from nas.objective import DEVICE_COSTS, MEASURED_COSTS, check_metric, split_name
from nas.settings import SourceSettings
from nas.yaml_file import Document

SECTIONS = {"objectives": "direction", "constraints": "limit"}  # the key of an inline mapping that stays there


def gathered(data: Mapping[str, Any], replacing: bool = False) -> dict[str, Any]:
    """The campaign with every inline source in `sources`. Raises UserError for a source that is written twice.

    replacing: an inline source takes the place of one in the section, as an override does.
    """
    found, sources = dict(data), data.get("sources", {})
    if not isinstance(sources, Mapping):
        raise UserError(f"sources: expected a mapping from metric to its source, found {sources!r:.60}")
    inline = {n for s in SECTIONS for n, v in _items(found.get(s)) if replacing and isinstance(v, Mapping)}
    sources = {name: source for name, source in sources.items() if name not in inline}
    for section, key in SECTIONS.items():
        if isinstance(found.get(section), Mapping):
            found[section] = {n: _taken(section, key, n, v, sources) for n, v in found[section].items()}
    return found | ({"sources": sources} if sources else {})


def measured_by_default(data: Mapping[str, Any], objectives: Iterable[str]) -> dict[str, Any]:
    """A gathered campaign whose device costs without a source are measured. objectives: where it names none."""
    named = [*_names(data.get("objectives", list(objectives))), *_names(data.get("constraints", {}))]
    plain = {name: {"source": "measured"} for name in named if name in MEASURED_COSTS}
    return {**data, "sources": plain | dict(data.get("sources", {}))}


def gather_places(document: Document, replacing: bool = False) -> None:
    """Gather the sources of a campaign file; each keeps the place where it was written."""
    data = document.data
    for section, key in SECTIONS.items():
        for name, value in _items(data.get(section)):
            for inner in value if isinstance(value, Mapping) else ():
                place = document.places.get((section, name, inner))
                if place and inner != key:
                    document.places.setdefault(("sources", name), document.places[section, name])
                    document.places["sources", name, inner] = place
    data |= gathered(data, replacing)


def read_sources(value: Any) -> Any:
    """Every entry of the section, strictly."""
    if not isinstance(value, Mapping):
        return value
    return {name: _read(name, entry) for name, entry in value.items()}


def check_sources(sources: Mapping[str, SourceSettings], used: Mapping[str, str]) -> None:
    """Raise UserError for a source that its metric cannot have, and for a named device without one.

    used: metric -> the section that names it.
    """
    for name, source in sources.items():
        check_metric(name, "sources")
        _check(name, source)
    for name, section in used.items():
        device = split_name(name)[1]
        if device and name not in sources:
            example = f"sources: {{{name}: {{source: profile, file: {device}.json}}}}"
            raise UserError(f"{section}: {name} needs the profile of {device}; write {example}")


def resolve_files(document: Document, folder: Path) -> None:
    """Files of profiles, seen from the campaign's folder or else from here; new ones go beside the campaign."""
    sources = document.data.get("sources")
    for entry in sources.values() if isinstance(sources, dict) else ():
        if isinstance(entry, dict) and isinstance(entry.get("file"), str) and entry["file"]:
            path = Path(entry["file"]).expanduser()
            here = [p for p in (folder / path, Path.cwd() / path) if p.is_file()]
            entry["file"] = str((here[0] if here else folder / path).resolve())


def check_files(sources: Mapping[str, SourceSettings], metrics: Sequence[str]) -> None:
    """Raise UserError for a profile that is used, is not there and is not to be made."""
    for name, source in sources.items():
        if name in metrics and source.file and source.minutes is None and not Path(source.file).is_file():
            path = Path(source.file)
            guess = nearest(path.stem, [p.stem for p in path.parent.glob("*.json")])
            hint = f"did you mean '{guess}.json'?" if guess else _way_out(name)
            raise UserError(f"sources.{name}.file: no profile at {source.file!r}; {hint}")


def _way_out(name: str) -> str:
    device = split_name(name)[1]
    return f"make it on {device} with nas profile" if device else "add minutes: 2 to make it before the search"


def _items(section: Any) -> Iterable[tuple[Any, Any]]:
    return section.items() if isinstance(section, Mapping) else ()


def _names(section: Any) -> Iterator[str]:
    """Of a list or a mapping; what is neither is refused later, with its place."""
    yield from (n for n in section if isinstance(n, str)) if isinstance(section, list | tuple | Mapping) else ()


def _taken(section: str, key: str, name: str, value: Any, sources: dict[str, Any]) -> Any:
    """What stays in the section; the rest of an inline mapping is added to `sources`."""
    if not isinstance(value, Mapping):
        return value
    known = (key, *SourceSettings.model_fields)
    for inner, given in value.items():
        if inner not in known:
            raise unknown("key", inner, known, f"{section}.{name}")
        if inner != key:
            _add(sources, name, inner, given, f"{section}.{name}.{inner}")
    if key == "limit" and key not in value:
        raise UserError(f"{section}.{name}: key 'limit' is missing; write {{limit: \"<= 5\", source: ...}}")
    return value.get(key, "minimize")


def _add(sources: dict[str, Any], name: str, inner: str, given: Any, where: str) -> None:
    entry = dict(sources[name]) if isinstance(sources.get(name), Mapping) else {}
    if entry.get(inner, given) != given:
        raise UserError(f"{where}: {name} has two sources: {entry[inner]!r} and {given!r}; write it once")
    sources[name] = entry | {inner: given}


def _read(name: str, entry: Any) -> SourceSettings:
    where = f"sources.{name}"
    if isinstance(entry, SourceSettings):
        return entry
    if not isinstance(entry, Mapping):
        expected = ", ".join(SourceSettings.model_fields)
        raise UserError(f"{where}: expected a mapping with {expected}, found {entry!r:.60}")
    try:
        return SourceSettings.model_validate(dict(entry))
    except ValidationError as error:
        raise first_error(error, SourceSettings, Document(name=where, data={})) from None


def _check(name: str, source: SourceSettings) -> None:
    metric, device = split_name(name)
    where, example = f"sources.{name}", f"{{source: profile, file: {device or 'device'}.json}}"
    if metric not in DEVICE_COSTS:
        raise UserError(f"{where}: {metric} follows from the architecture alone; leave its source out")
    if source.source == "measured":
        if device:
            raise UserError(f"{where}: {device} cannot be measured from here; write {example}")
        if metric not in MEASURED_COSTS:
            raise UserError(f"{where}: {metric} is counted, not measured; leave its source out, or write {example}")
        for key in ("file", "minutes"):
            if getattr(source, key) is not None:
                raise UserError(f"{where}.{key}: what is measured needs no profile; write source: profile, or no {key}")
    elif device and source.file is None:
        raise UserError(f"{where}: the profile of {device} is not named; write {example}")
    elif device and source.minutes is not None:
        raise UserError(f"{where}.minutes: a profile of {device} cannot be made here; leave minutes out")
    elif source.file is None and source.minutes is None:
        raise UserError(f"{where}: name the file of a profile, or minutes to make one before the search")
