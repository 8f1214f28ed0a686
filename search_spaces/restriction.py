"""Fixing and narrowing the dimensions of a space by what a user writes, strictly."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from nas.errors import UserError, unknown
from nas.genotype import Atom

if TYPE_CHECKING:
    from search_spaces.space import Choice, Dimension

NICKNAMES = {"mixers": "*.mixer_?"}  # one word for many dimensions; the choice "same" is kept in them


def restricted(
    dimensions: "tuple[Dimension, ...]", fix: Mapping[str, Any], narrow: Mapping[str, Sequence[Any]]
) -> "tuple[Dimension, ...]":
    """The dimensions with fewer choices, in the same order. Raises UserError for unknown names and choices.

    A stage that is left without a choice, such as one whose map is too small for all that is wanted, is not reached;
    nor are the branches of dual networks.
    """
    found = {d.name: d for d in dimensions}
    for key, value in fix.items():
        if isinstance(value, list | tuple):
            raise UserError(f"space.fix.{key}: expected one choice, found a list; use space.narrow for several")
        found |= _narrow(found, key, [value], "space.fix")
    for key, values in narrow.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise UserError(f"space.narrow.{key}: expected a list of choices such as [{values}], found {values!r}")
        found |= _narrow(found, key, values, "space.narrow")
    return tuple(found[d.name] for d in dimensions)


def _shortened(dimensions: "dict[str, Dimension]", empty: str) -> "Dimension | None":
    """What leads to the dimension `empty`, less that: the number of stages or the topology. None where none is left."""
    stage, stages = empty.partition(".")[0].removeprefix("stage"), dimensions.get("stages")
    if stage == "dual":
        others = tuple(c for c in dimensions["topology"].choices if c != stage)
        return replace(dimensions["topology"], choices=others) if others else None
    if not stage.isdigit() or stages is None:
        return None
    fewer = tuple(c for c in stages.choices if int(c) < int(stage))
    return replace(stages, choices=fewer) if fewer else None


def _narrow(dimensions: "dict[str, Dimension]", key: str, values: Iterable[Any], where: str) -> "dict[str, Dimension]":
    pattern = NICKNAMES.get(key, key)
    names = [name for name in dimensions if fnmatchcase(name, pattern)]
    if not names:
        raise unknown("dimension", key, (*dimensions, *NICKNAMES), where)
    known = tuple(dict.fromkeys(c for name in names for c in dimensions[name].choices))
    wanted = {choice for value in values for choice in _matching(value, known, f"{where}.{key}")}
    if key in NICKNAMES:
        wanted.add("same")
    found: dict[str, Dimension] = {}
    for name in names:
        kept = tuple(c for c in dimensions[name].choices if c in wanted)
        shorter = None if kept else _shortened(dimensions | found, name)
        if not kept and shorter is None:
            offer = _listed(dimensions[name].choices)
            raise UserError(f"{where}.{key}: leaves {name} without a choice; it offers {offer}")
        found |= {name: replace(dimensions[name], choices=kept)} if shorter is None else {shorter.name: shorter}
    return found


def _matching(value: Any, known: "tuple[Choice, ...]", where: str) -> "list[Choice]":
    """A number or word itself, an atom however it is written, or all atoms of a mechanism."""
    if value in known and not isinstance(value, bool):
        return [value]
    words = [c for c in known if isinstance(c, str)]
    found: list[Choice] = []
    if words and isinstance(value, str | Mapping):
        atom = Atom.from_json(value, where)
        found = [c for c in words if Atom.parse(c) == atom or (not atom.params and Atom.parse(c).kind == atom.kind)]
    if found:
        return found
    if not words:
        raise UserError(f"{where}: {value!r} is not a choice; choices: {_listed(known)}")
    raise unknown("choice", value, {str(c) for c in known} | {Atom.parse(c).kind for c in words}, where)


def _listed(choices: "Iterable[Choice]") -> str:
    return ", ".join(str(c) for c in choices)
