"""Whether a search may begin in a folder, or go on there: with the same campaign, pictures, space and profiles."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.campaign import Campaign, refused_changes
from nas.errors import UserError
from nas.journal import read_journal
from nas.run import Run
from search_spaces.space import Space

SHOWN = 3  # dimensions of a changed space that are named
DIGITS = 6  # hexadecimal ones that stand for the choices of a dimension


def check_folder(folder: Path, resume: bool) -> None:
    """Nothing is overwritten, and nothing that is not there gone on with. Raises UserError."""
    begun = _begun(folder / "journal.jsonl")
    if begun and not resume:
        raise UserError(f"{folder}: holds a campaign already; go on with --resume, or choose another --name")
    if resume and not begun:
        raise UserError(f"{folder}: nothing to resume; start it without --resume")


def _begun(record: Path) -> bool:
    """Whether a session was recorded. Before that there is nothing to lose, and nothing that can go on."""
    return record.is_file() and any(event["event"] == "session" for event in read_journal(record))


def check_campaign(run: Run, campaign: Campaign) -> None:
    """Raise UserError where a setting is another than it was and would change what a trial means."""
    refused = refused_changes(run.campaign, campaign)
    if refused:
        raise UserError(
            f"{run.path}: the campaign has changed since it began ({'; '.join(refused)}); set it back or use "
            "another --name"
        )


def check_surroundings(run: Run, now: Mapping[str, Any], source: str) -> None:
    """The campaign file may be the same and its data, its space or a profile another. now: their facts today."""
    folder, before = run.path, run.environment
    if _fingerprint(before, now, "data") != now["data"]["fingerprint"]:
        raise UserError(f"{folder}: the pictures or labels of {source} have changed since it began; use another --name")
    if _fingerprint(before, now, "space") != now["space"]["fingerprint"]:
        then = before.get("versions", {}).get("vitnas")
        raise UserError(
            f"{folder}: the choices of space {now['space']['name']} have changed since it began (then vitnas {then}"
            f"{_space_changes(before['space'], now['space'])}); use another --name"
        )
    for name, facts in now["profiles"].items():
        if before.get("profiles", {}).get(name, facts)["fingerprint"] != facts["fingerprint"]:
            raise UserError(f"{folder}: the profile {facts['file']} has changed since it began; use another --name")


def space_facts(space: Space) -> dict[str, Any]:
    """What a record must say about its space: codes mean something only there. dimensions: name -> its choices."""
    return {
        "name": space.name, "version": space.version, "fingerprint": space.fingerprint,
        "dimensions": {d.name: _digest(d.choices) for d in space.dimensions},
    }  # fmt: skip


def _digest(choices: tuple[Any, ...]) -> str:
    return hashlib.sha256(json.dumps(choices).encode()).hexdigest()[:DIGITS]


def _fingerprint(before: Mapping[str, Any], now: Mapping[str, Any], part: str) -> str:
    """Then; records of earlier versions may have none, and are believed."""
    found: str = before.get(part, {}).get("fingerprint", now[part]["fingerprint"])
    return found


def _space_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The dimensions that differ, in words; nothing where an earlier version did not record them."""
    old, new = before.get("dimensions", {}), now["dimensions"]
    if not old:
        return ""
    changes = [f"{name} is gone" for name in old if name not in new]
    changes += [f"{name} is new" for name in new if name not in old]
    changes += [f"{name} has other choices" for name in new if old.get(name, new[name]) != new[name]]
    rest = f", and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return "".join(f", {change}" for change in changes[:SHOWN]) + rest
