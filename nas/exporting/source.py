"""Python modules as text and syntax tree: where a name is defined, which names a definition uses, where it stands."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple


class Symbol(NamedTuple):
    """A definition at the top of a module."""

    module: str
    name: str


class Foreign(NamedTuple):
    """An import of other people's code: `from module import name as alias`, or `import module as alias`."""

    module: str
    name: str | None
    alias: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module's text with what stands at its top. title: the first line of its docstring."""

    name: str
    text: bytes
    title: str
    definitions: dict[str, ast.stmt]
    imports: dict[str, tuple[str, str | None]]

    def offset(self, line: int, column: int = 0) -> int:
        """Bytes in front of a position of the syntax tree: lines count from 1, columns are bytes."""
        return len(b"".join(self.text.splitlines(keepends=True)[: line - 1])) + column

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """First and last byte of a node."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)


@lru_cache
def read_module(name: str) -> Module:
    source = inspect.getsource(importlib.import_module(name))
    tree = ast.parse(source)
    definitions: dict[str, ast.stmt] = {}
    imports: dict[str, tuple[str, str | None]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            definitions.update(dict.fromkeys(targets(node), node))
        elif isinstance(node, ast.Import):
            imports |= {a.asname or a.name.partition(".")[0]: (a.name, None) for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports |= {a.asname or a.name: (node.module, a.name) for a in node.names}
    title = (ast.get_docstring(tree) or "").partition("\n")[0]
    return Module(name=name, text=source.encode(), title=title, definitions=definitions, imports=imports)


def targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    """The names that an assignment binds."""
    left = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [n.id for t in left for n in ast.walk(t) if isinstance(n, ast.Name)]


def registers(decorator: ast.expr) -> bool:
    """Whether it files a component in a registry."""
    called = decorator.func if isinstance(decorator, ast.Call) else None
    return isinstance(called, ast.Attribute) and called.attr == "register"


def bound(part: ast.AST) -> set[str]:
    """Names that a function gives a value of its own, so that they mean no global."""
    if not isinstance(part, ast.FunctionDef):
        return set()
    arguments = {a.arg for a in ast.walk(part) if isinstance(a, ast.arg)}
    return arguments | {n.id for n in ast.walk(part) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def names(part: ast.AST) -> Iterator[ast.Name]:
    """Every name, also inside quoted annotations; decorators that register are not looked into."""
    skipped = {id(n) for d in getattr(part, "decorator_list", []) if registers(d) for n in ast.walk(d)}
    for node in ast.walk(part):
        if isinstance(node, ast.Name) and id(node) not in skipped:
            yield node
    for text in quoted(part):
        yield from (n for n in ast.walk(ast.parse(str(text.value), mode="eval")) if isinstance(n, ast.Name))


def quoted(part: ast.AST) -> Iterator[ast.Constant]:
    """Annotations, or pieces of them, that are written as strings; the words of a Literal are none."""
    annotations = [getattr(n, field, None) for n in ast.walk(part) for field in ("annotation", "returns")]
    for annotation in filter(None, annotations):
        words = {id(w) for n in ast.walk(annotation) if _is_literal(n) for w in ast.walk(n)}
        for node in ast.walk(annotation):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in words:
                yield node


def _is_literal(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal"


def first_line(node: ast.stmt) -> int:
    """With decorators."""
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
