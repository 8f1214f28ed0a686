"""The run-time source of some classes: they and all they need, without registration, costs and search facts.

Definitions are cut out of their modules as text (the syntax tree only says where), so comments and layout survive.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nas.export.source import (
    Foreign,
    Module,
    Symbol,
    bound,
    first_line,
    names,
    quoted,
    read_module,
    registers,
    targets,
)

Edit = tuple[int, int, bytes]  # replace these bytes of a module

ALWAYS = {"forward", "init_weights", "init_special"}
NEVER = {"about", "search"}
CITES = "arXiv"  # a module whose title names a paper keeps it


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """What takes the place of a definition that a plain file cannot use. Without source, `name` is an expression."""

    name: str
    source: str = ""
    imports: tuple[Foreign, ...] = ()


def symbol_of(entry: Any) -> Symbol:
    return Symbol(entry.__module__, entry.__name__)


class Needs:
    """What `roots` need to be built and run, found by following names.

    own: the top packages that are copied, not imported.
    """

    def __init__(self, roots: Iterable[Any], own: Iterable[str], stand_ins: Mapping[Symbol, StandIn]) -> None:
        self.own, self.stand_ins = set(own), stand_ins
        self.symbols: dict[Symbol, None] = dict.fromkeys(s for s in map(symbol_of, roots) if s not in stand_ins)
        self.replaced: dict[Symbol, None] = {}
        self.imports: set[Foreign] = set()
        self.modules: dict[str, dict[str, None]] = {}  # module -> modules that must stand before it
        self.used = set(self.symbols)  # referred to otherwise than as a base class
        self._attributes = set(ALWAYS)
        self._loads: dict[Symbol, set[str]] = {}  # class -> attributes read from it or its instances
        self._stores: dict[Symbol, set[str]] = {}
        self._grow()

    def _grow(self) -> None:
        before = -1
        while before != (size := len(self.symbols) + len(self._attributes) + sum(map(len, self._loads.values()))):
            before = size
            for symbol in list(self.symbols):
                self._visit(symbol)

    def _visit(self, symbol: Symbol) -> None:
        module, node = read_module(symbol.module), self.node(symbol)
        for part in self.parts(symbol):
            local = bound(part)
            for name in names(part):
                if name.id not in local:
                    self._refer(module, name.id)
            for attribute in (n for n in ast.walk(part) if isinstance(n, ast.Attribute)):
                self._note_attribute(symbol, attribute)
        for base in node.bases if isinstance(node, ast.ClassDef) else []:
            for name in names(base):
                self._refer(module, name.id, as_base=True)

    def _refer(self, module: Module, name: str, as_base: bool = False) -> None:
        found = self.resolve(module, name)
        if isinstance(found, Foreign):
            self.imports.add(found)
        elif found is None:
            return
        elif found in self.stand_ins:
            self.replaced[found] = None
            self.imports.update(self.stand_ins[found].imports)
        else:
            self.symbols.setdefault(found)
            if not as_base:
                self.used.add(found)
            if found.module != module.name:
                self.modules.setdefault(module.name, {})[found.module] = None

    def resolve(self, module: Module, name: str) -> Symbol | Foreign | None:
        """Where a module's global name is defined; None for builtins and locals."""
        if name in module.definitions:
            return Symbol(module.name, name)
        if name not in module.imports:
            return None
        source, original = module.imports[name]
        if source.partition(".")[0] not in self.own:
            return Foreign(source, original, name)
        inner = read_module(source)
        if original is None or (original not in inner.definitions and original not in inner.imports):
            raise ValueError(f"{module.name} uses the module {name!r} at run time; import what it needs by name")
        return self.resolve(inner, original)

    def _note_attribute(self, symbol: Symbol, node: ast.Attribute) -> None:
        self._attributes.add(node.attr)
        owner = self._owner(symbol, node.value)
        if owner is not None:
            kind = self._loads if isinstance(node.ctx, ast.Load) else self._stores
            kind.setdefault(owner, set()).add(node.attr)

    def _owner(self, symbol: Symbol, value: ast.expr) -> Symbol | None:
        """The class whose attribute is meant by self.x, cls.x, type(self).x, super().x or Name.x."""
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in ("type", "super"):
            return symbol
        if not isinstance(value, ast.Name):
            return None
        if value.id in ("self", "cls"):
            return symbol
        found = self.resolve(read_module(symbol.module), value.id)
        return found if isinstance(found, Symbol) else None

    def node(self, symbol: Symbol) -> ast.stmt:
        return read_module(symbol.module).definitions[symbol.name]

    def parts(self, symbol: Symbol) -> list[ast.AST]:
        """The pieces of a definition that stay, without registrations and class-level annotations."""
        node = self.node(symbol)
        if not isinstance(node, ast.ClassDef):
            return [node]
        kept: list[ast.AST] = [d for d in node.decorator_list if not registers(d)]
        for member in node.body:
            if self.keeps(symbol, member):
                kept.append(member.value if isinstance(member, ast.AnnAssign) and member.value else member)
        return kept

    def keeps(self, symbol: Symbol, member: ast.stmt) -> bool:
        """Whether a statement of a class body is needed at run time."""
        if isinstance(member, ast.Assign | ast.AnnAssign):
            return member.value is not None and bool((set(targets(member)) & self._attributes) - NEVER)
        if not isinstance(member, ast.FunctionDef) or member.name in ALWAYS or member.name.startswith("__"):
            return True
        if any(isinstance(d, ast.Name) and d.id in ("classmethod", "staticmethod") for d in member.decorator_list):
            return any(member.name in self._read_from(c) for c in self._heirs(symbol))
        return member.name in self._attributes

    def _heirs(self, symbol: Symbol) -> Iterator[type]:
        base = _runtime(symbol)
        for cls in map(_runtime, self.symbols):
            if isinstance(cls, type) and issubclass(cls, base):
                yield cls

    def _read_from(self, cls: type) -> set[str]:
        """Class attributes that a class or its bases read; what they store on self hides the class's own."""
        line = [symbol_of(c) for c in cls.__mro__]
        loads = set[str]().union(*(self._loads.get(s, set()) for s in line))
        return loads - set[str]().union(*(self._stores.get(s, set()) for s in line))

    def is_contract(self, symbol: Symbol) -> bool:
        """A base class of which nothing is left but its docstring."""
        node = self.node(symbol)
        if symbol in self.used or not isinstance(node, ast.ClassDef) or len(node.bases) != 1:
            return False
        return all(isinstance(p, ast.Expr) for p in self.parts(symbol))


def _runtime(symbol: Symbol) -> Any:
    return getattr(sys.modules[symbol.module], symbol.name)


class Extract:
    """Needs, named without clashes and written out."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self._names = {s: needs.stand_ins[s].name for s in needs.replaced}
        taken: dict[str, bytes] = dict.fromkeys(self._names.values(), b"")
        for symbol in filter(lambda s: not needs.is_contract(s), needs.symbols):
            name, text = symbol.name, _text(read_module(symbol.module), needs.node(symbol))
            if taken.get(name, text) != text:
                name = f"{name}_{symbol.module.rpartition('.')[2]}"
            taken[name] = text
            self._names[symbol] = name

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
