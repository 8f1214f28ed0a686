"""A family of named components: registered where they are defined, found by name, extended by entry points."""

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from nas.errors import UserError, unknown

T = TypeVar("T")
REGISTRIES: "list[Registry[Any]]" = []  # every family there is, in the order in which their modules were imported


class Registry(Generic[T]):
    """Names of one family, such as "mixer". Other packages add to it through the entry point group `vitnas.FAMILY`."""

    def __init__(self, family: str) -> None:
        self.family = family
        self._entries: dict[str, T] = {}
        self._loaded_entry_points = False
        REGISTRIES.append(self)

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files a component under `name`; a name may be taken once."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.family} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        self._load_entry_points()
        if name not in self._entries:
            raise unknown(self.family, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._load_entry_points()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load_entry_points()
        return iter(self._entries)

    def __len__(self) -> int:
        self._load_entry_points()
        return len(self._entries)

    def items(self) -> list[tuple[str, T]]:
        self._load_entry_points()
        return list(self._entries.items())

    def _load_entry_points(self) -> None:
        if self._loaded_entry_points:
            return
        self._loaded_entry_points = True
        for point in entry_points(group=f"vitnas.{self.family}"):
            try:
                point.load()
            except Exception as error:
                raise UserError(_broken(point, error)) from error


def _broken(point: EntryPoint, error: Exception) -> str:
    """One line: whose entry point it is, and what went wrong in it."""
    package = f"package {point.dist.name!r}" if point.dist else "a package"
    lines = str(error).strip().splitlines() or ["no message"]
    where = f"entry point {point.name} = {point.value} of group {point.group}"
    return f"{package}: {where} failed: {type(error).__name__}: {lines[0]}"
