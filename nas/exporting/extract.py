"""Needs as one source text: definitions are cut out of their modules, so comments and layout survive.

The syntax tree only says where to cut.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from nas.exporting.needs import Needs, symbol_of
from nas.exporting.source import Foreign, Module, Symbol, bound, first_line, quoted, read_module, registers

Edit = tuple[int, int, bytes]  # replace these bytes of a module

CITES = "arXiv"  # a module whose title names a paper keeps it


class Extract:
    """Needs, named without clashes and written out."""

    def __init__(self, needs: Needs, reserved: Iterable[str] = ()) -> None:
        self.needs = needs
        self._names = {s: needs.stand_ins[s].name for s in needs.replaced}
        self._taken: dict[str, bytes | None] = dict.fromkeys([*reserved, *self._names.values()])  # None: never shared
        for symbol in filter(lambda s: not needs.is_contract(s), needs.symbols):
            self._names[symbol] = self._free_name(symbol)

    def _free_name(self, symbol: Symbol) -> str:
        """Its own, or one with as much of the module in it as sets it apart. Equal aliases share a name."""
        node, path = self.needs.node(symbol), symbol.module.split(".")
        text = _text(read_module(symbol.module), node) if isinstance(node, ast.Assign) else None
        choices = [symbol.name, *("_".join([symbol.name, *path[-i:]]) for i in range(1, len(path) + 1))]
        name = next(c for c in choices if c not in self._taken or (text is not None and self._taken[c] == text))
        self._taken[name] = text
        return name

    def name(self, entry: Any) -> str:
        """What a class or function is called in the extract."""
        symbol = symbol_of(entry)
        return self.needs.stand_ins[symbol].name if symbol in self.needs.stand_ins else self._names[symbol]

    def render(self) -> str:
        """The definitions, module by module, each after what it needs."""
        stand_ins = [self.needs.stand_ins[s].source for s in self.needs.replaced]
        return "\n\n\n".join([*filter(None, stand_ins), *self._sections()])

    def _sections(self) -> Iterator[str]:
        written: set[str] = set()
        for name in self._ordered_modules():
            module = read_module(name)
            mine = [s for s in self.needs.symbols if s.module == name and self._names.get(s, "") not in {"", *written}]
            written.update(self._names[s] for s in mine)
            by_line = {self.needs.node(s).lineno: s for s in mine}
            blocks = [self._edited(module, by_line[line]) for line in sorted(by_line)]
            if blocks:
                source = [f"# {module.title}"] if CITES in module.title else []
                yield "\n\n\n".join(["\n\n".join([*source, blocks[0]]), *blocks[1:]])

    def _ordered_modules(self) -> list[str]:
        order: dict[str, None] = {}

        def add(name: str, path: tuple[str, ...] = ()) -> None:
            if name not in order and name not in path:
                for needed in self.needs.modules.get(name, ()):
                    add(needed, (*path, name))
                order.setdefault(name)

        for symbol in self.needs.symbols:
            add(symbol.module)
        return list(order)

    def _edited(self, module: Module, symbol: Symbol) -> str:
        node, text = self.needs.node(symbol), module.text
        start, end = module.offset(first_line(node)), module.span(node)[1]
        for first, last, replacement in sorted(set(self._edits(module, symbol)), reverse=True):
            text = text[:first] + replacement + text[last:]
            end += len(replacement) - (last - first)
        return re.sub(r"\n{3,}", "\n\n", text[start:end].decode()).strip()

    def _edits(self, module: Module, symbol: Symbol) -> Iterator[Edit]:
        node = self.needs.node(symbol)
        for decorator in filter(registers, getattr(node, "decorator_list", [])):
            yield module.offset(decorator.lineno), module.offset((decorator.end_lineno or 0) + 1), b""
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and self._names[symbol] != symbol.name:
            start = module.text.index(symbol.name.encode(), module.offset(node.lineno, node.col_offset))
            yield start, start + len(symbol.name.encode()), self._names[symbol].encode()
        for part in self.needs.parts(symbol):
            yield from self._renames(module, part)
        if isinstance(node, ast.ClassDef):
            for base in (b for b in node.bases if isinstance(b, ast.Name)):
                yield *module.span(base), self._base_name(module, base.id).encode()
            yield from self._cuts(module, symbol, node)

    def _renames(self, module: Module, part: ast.AST) -> Iterator[Edit]:
        local = bound(part)
        for node in ast.walk(part):
            if isinstance(node, ast.Name) and node.id not in local:
                yield *module.span(node), self._new_name(module, node.id).encode()
        for text in quoted(part):
            start, end = module.span(text)
            old = module.text[start:end].decode()
            yield start, end, re.sub(r"[A-Za-z_]\w*", lambda m: self._new_name(module, m[0]), old).encode()

    def _new_name(self, module: Module, name: str) -> str:
        found = self.needs.resolve(module, name)
        return self._names.get(found, name) if isinstance(found, Symbol) else name

    def _base_name(self, module: Module, name: str) -> str:
        """A base class by its new name; one that only held a contract gives way to its own base."""
        found = self.needs.resolve(module, name)
        if not isinstance(found, Symbol) or found in self._names:
            return self._new_name(module, name)
        node = self.needs.node(found)
        assert isinstance(node, ast.ClassDef)
        assert isinstance(node.bases[0], ast.Name)
        return self._base_name(read_module(found.module), node.bases[0].id)

    def _cuts(self, module: Module, symbol: Symbol, node: ast.ClassDef) -> Iterator[Edit]:
        """Members that go, each with the comments above it, and ClassVar annotations of those that stay."""
        last = first_line(node.body[0]) - 1
        for member in node.body:
            end = member.end_lineno or 0
            if not self.needs.keeps(symbol, member):
                yield module.offset(last + 1), module.offset(end + 1), b""
            elif isinstance(member, ast.AnnAssign) and "ClassVar" in ast.unparse(member.annotation):
                yield module.span(member.target)[1], module.span(member.annotation)[1], b""
            last = end
        if not any(self.needs.keeps(symbol, m) for m in node.body):
            yield module.offset(last + 1), module.offset(last + 1), b"    pass\n"


def _text(module: Module, node: ast.stmt) -> bytes:
    start, end = module.span(node)
    return module.text[start:end]


def write_imports(imports: Iterable[Foreign]) -> str:
    """Import statements, the standard library first."""
    whole = {f"import {m}" + ("" if alias == m else f" as {alias}"): m for m, name, alias in imports if name is None}
    pieces: dict[str, list[str]] = {}
    for module, name, alias in imports:
        if name is not None:
            pieces.setdefault(module, []).append(name if name == alias else f"{name} as {alias}")
    lines = sorted(whole.items()) + [(f"from {m} import {', '.join(sorted(n))}", m) for m, n in sorted(pieces.items())]
    standard = [line for line, m in lines if m.partition(".")[0] in sys.stdlib_module_names]
    other = [line for line, m in lines if m.partition(".")[0] not in sys.stdlib_module_names]
    return "\n\n".join("\n".join(group) for group in (standard, other) if group)
