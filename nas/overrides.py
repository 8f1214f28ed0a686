"""Single settings from the command line: `--set key.path=value` written into what was read from a file."""

from typing import Any, get_args, get_origin

from pydantic import BaseModel

from nas.errors import UserError, unknown
from nas.yaml_file import Document, parse_value


def override(document: Document, model: type[BaseModel], text: str) -> None:
    """Write one `key.path=value` into the document. Raises UserError when `model` has no such key."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text!r}: write key.path=value, such as budget.trials=20")
    place = f"--set {key.strip()}"
    path = _key_path(model, key.strip(), place)
    section = document.data
    for i, name in enumerate(path[:-1]):
        inner = section.setdefault(name, {})
        if not isinstance(inner, dict):
            raise UserError(f"{place}: {'.'.join(path[: i + 1])} is no mapping in the file; set it as a whole")
        section = inner
    section[path[-1]] = parse_value(value, place)
    for known in [p for p in document.places if p[: len(path)] == path]:
        del document.places[known]
    document.places[path] = place


def _key_path(model: Any, key: str, place: str) -> tuple[str, ...]:
    """`space.fix.stage1.width` -> (space, fix, stage1.width): below a mapping of free names the rest is one name."""
    names = key.split(".")
    for i, name in enumerate(names):
        if name not in model.model_fields:
            raise unknown("key", name, model.model_fields, place)
        model = model.model_fields[name].annotation
        if get_origin(model) is dict and names[i + 1 :]:
            return (*names[: i + 1], *_free_name(names[i + 1 :], get_args(model)[1]))
        if not hasattr(model, "model_fields") and names[i + 1 :]:
            raise UserError(f"{place}: unknown key {names[i + 1]!r}; {'.'.join(names[: i + 1])} holds no keys")
    return tuple(names)


def _free_name(names: list[str], model: Any) -> tuple[str, ...]:
    """One name with all its dots; behind it a key, where the mapping holds sections and it is one of theirs."""
    if len(names) > 1 and names[-1] in getattr(model, "model_fields", ()):
        return ".".join(names[:-1]), names[-1]
    return (".".join(names),)
