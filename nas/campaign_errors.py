"""What pydantic found wrong in a campaign file, as one line: place, key, what was expected, what was found."""

from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from nas.errors import UserError, unknown
from nas.yaml_file import Document

_ORDER = {"extra_forbidden": 0, "missing": 2}  # a misspelt key explains the one that is missing


def first_error(error: ValidationError, model: type[BaseModel], document: Document) -> UserError:
    """The first mistake, unknown keys before others."""
    details = min(error.errors(), key=lambda e: _ORDER.get(e["type"], 1))
    path = tuple(details["loc"])
    if details["type"] == "extra_forbidden":
        section = _model_at(model, path[:-1])
        return _line(document, path, str(unknown("key", path[-1], section.model_fields)), path[:-1])
    if details["type"] == "missing":
        return _line(document, path, f"key {path[-1]!r} is missing", path[:-1])
    if details["type"] == "value_error":
        return placed(str(details["ctx"]["error"]), document)
    key, description = _described(model, path)
    return _line(document, key, f"expected {description}, found {_found(details['input'])}")


def placed(message: str, document: Document) -> UserError:
    """Put the place of the key in front of a message such as `objectives.accuracy: ...` or `data.source './x': ...`."""
    key = message.partition(":")[0].partition(" ")[0]
    path = next((p for p in document.places if ".".join(map(str, p)) == key), tuple(key.split(".")))
    place = document.place(path)
    return UserError(message.replace(key, place, 1) if place == f"--set {key}" else f"{place}: {message}")


def _line(
    document: Document, path: Sequence[str | int], text: str, shown: Sequence[str | int] | None = None
) -> UserError:
    place = document.place(path)
    key = ".".join(map(str, path if shown is None else shown))
    return UserError(f"{place}: {text}" if not key or place == f"--set {key}" else f"{place}: {key}: {text}")


def _model_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel]:
    for name in path:
        model = _inner_model(model.model_fields[str(name)].annotation) or model
    return model


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    choices = [annotation, *get_args(annotation)]
    return next((c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _described(model: type[BaseModel], path: Sequence[str | int]) -> tuple[Sequence[str | int], str]:
    """The innermost key of ours on the path and what it takes; what pydantic adds below it is left out.

    The value of a mapping of free names is described by the end of "a mapping from NAME to VALUE".
    """
    for depth, name in enumerate(path):
        entry = model.model_fields[str(name)]
        description = entry.description or "something else"
        if get_origin(entry.annotation) is dict and depth + 1 < len(path):
            return path[: depth + 2], description.rpartition(" to ")[2]
        inner = _inner_model(entry.annotation)
        if inner is None or depth + 1 == len(path):
            return path[: depth + 1], description
        model = inner
    return path, f"a mapping with {', '.join(model.model_fields)}"


def _found(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
