"""Under which conditions the numbers of a page were found: data, recipe, device, budget, versions, date."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from nas.run import Run

SHOWN = (
    "data",
    "space",
    "objectives",
    "constraints",
    "sources",
    "sampler",
    "budget",
    "training",
    "fidelity",
    "latency",
    "execution",
    "seed",
    "references",
)
DIGESTS = "dimensions"  # of a space, one for each


def conditions(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """(group, [(key, value)]) in reading order; nothing that the campaign or its environment says is left out, but for
    the digests of single dimensions, of which the fingerprint of the space is one."""
    campaign = run.campaign.model_dump(mode="json")
    groups = [("campaign", list(_lines({"name": run.campaign.name, "seed": run.campaign.seed} | dates(run))))]
    for key in SHOWN:
        lines = list(_lines(campaign[key])) if isinstance(campaign[key], Mapping) else []
        if lines:
            groups.append((key, lines))
    if run.campaign.references:
        groups.append(("references", [("networks", ", ".join(run.campaign.references))]))
    plain = {k: v for k, v in run.environment.items() if not isinstance(v, Mapping)}
    groups.append(("machine", list(_lines(plain))))
    taken = {name for name, _ in groups}
    for key, value in run.environment.items():
        if isinstance(value, Mapping):
            told = {k: v for k, v in value.items() if k != DIGESTS}
            groups.append((f"{key} as found" if key in taken else key, list(_lines(told))))
    return [(name, lines) for name, lines in groups if lines]


def dates(run: Run) -> dict[str, str]:
    """First start and last result, in UTC."""
    starts = [t.started for t in run.trials if t.started]
    ends = [t.finished for t in run.trials if t.finished]
    found = {"first trial": min(starts, default=None), "last result": max(ends, default=None)}
    return {k: _date(v) for k, v in found.items() if v is not None}


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _lines(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{prefix}{key}.")
        elif value not in (None, [], ""):
            yield f"{prefix}{key}", _words(value)


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
