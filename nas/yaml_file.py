"""YAML read strictly and safely: plain types only, no repeated keys, and the line on which every key stands."""

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nas.errors import UserError, nearest

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The values of a YAML file and where each of them was written."""

    name: str
    data: dict[str, Any]
    places: dict[KeyPath, str] = field(default_factory=dict)  # key path -> "runs/x.yaml:12" or "--set budget.trials"

    def place(self, path: Sequence[str | int]) -> str:
        """Where `path` was written, or else the section that should hold it."""
        keys = tuple(path)
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.places:
                return self.places[keys[:length]]
        return self.name


def read_yaml(path: Path, what: str = "file") -> Document:
    """Read a mapping; raises UserError with line and column for what is no valid YAML."""
    return parse_yaml(_read_text(path, what), str(path))


def parse_yaml(text: str, name: str) -> Document:
    """As `read_yaml`, from a text; `name` stands for the file in messages."""
    places: dict[KeyPath, str] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        _note_places(node, (), name, places)
        data = loader.construct_document(node) if node else None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _as_user_error(error, name) from None
    if data is None:
        raise UserError(f"{name}: the file is empty")
    if not isinstance(data, dict):
        raise UserError(f"{name}:1: expected keys and values such as `name: value`, found {data!r:.60}")
    return Document(name=name, data=data, places=places)


def parse_value(text: str, name: str) -> Any:
    """One YAML value, such as `3`, `1e-3`, `[a, b]` or `"<= 2"`."""
    try:
        return _Loader(text).get_single_data()
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _as_user_error(error, name) from None


class _Loader(yaml.SafeLoader):
    """Safe types; no aliases, by which a short file could unfold into a huge one; `1e-3` is a number."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not supported", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _note_places(node: yaml.Node | None, path: KeyPath, name: str, places: dict[KeyPath, str]) -> None:
    """Fill `places`, refusing keys that are repeated or are not words."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[Hashable, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not key.tag.endswith(":str"):
                raise UserError(f"{name}:{line}: a key must be a word, found {key.value!r:.60}; put it in quotes")
            if key.value in seen:
                raise UserError(f"{name}:{line}: key {key.value!r} is written twice (first in line {seen[key.value]})")
            seen[key.value] = line
            places[(*path, key.value)] = f"{name}:{line}"
            _note_places(value, (*path, key.value), name, places)
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            places[(*path, i)] = f"{name}:{item.start_mark.line + 1}"
            _note_places(item, (*path, i), name, places)


def _read_text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        names = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        guess = nearest(path.name, names)
        hint = f"; did you mean {path.parent / guess}?" if guess else ""
        raise UserError(f"{path}: no such {what}{hint}") from None
    except IsADirectoryError:
        found = next(iter(sorted([*path.glob("configs/*.yaml"), *path.glob("*.yaml")])), None)
        raise UserError(f"{path}: a folder, not a file{f'; did you mean {found}?' if found else ''}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _as_user_error(error: Exception, name: str) -> UserError:
    if isinstance(error, UserError):
        return error
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return UserError(f"{name}:{mark.line + 1}:{mark.column + 1}: not valid YAML: {error.problem}")
    return UserError(f"{name}: not valid YAML: {' '.join(str(error).split())[:120]}")
