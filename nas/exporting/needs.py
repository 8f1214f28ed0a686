"""What some classes need in order to be built and run: definitions, members, imports, found by following names."""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nas.errors import UserError
from nas.exporting.source import Foreign, Module, Symbol, bound, names, read_module, registers, targets

ALWAYS = {"forward", "backward", "init_weights", "init_special"}
NEVER = {"about", "search"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """What takes the place of a definition that a plain file cannot use. Without source, `name` is an expression."""

    name: str
    source: str = ""
    imports: tuple[Foreign, ...] = ()


def symbol_of(entry: Any) -> Symbol:
    return Symbol(entry.__module__, entry.__name__)


class Needs:
    """What `roots` need to be built and run, without registration, costs and search facts.

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
            raise UserError(f"{module.name} uses the module {name!r} at run time; import what it needs by name")
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
