"""What several scores need is made once, and yet each score knows what it would have cost alone."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Frame:
    """One thing being made: the time that others took inside it, and what it is made from."""

    inner: float = 0.0
    uses: set[str] = field(default_factory=set)


class Shared:
    """Named values and the processor's seconds that went into each: a clock on the wall also counts other programs."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._own: dict[str, float] = {}
        self._uses: dict[str, set[str]] = {}
        self._open: list[_Frame] = []

    def get(self, name: str, make: Callable[[], T]) -> T:
        """The value of that name, made by the first who asks."""
        if name not in self._values:
            with self.timing(name):
                self._values[name] = make()
        if self._open:
            self._open[-1].uses |= {name} | self._uses[name]
        value: T = self._values[name]
        return value

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Counts the block under a name, without what is made inside it under another."""
        frame, start = _Frame(), time.process_time()
        self._open.append(frame)
        try:
            yield
        finally:
            elapsed = time.process_time() - start
            self._open.pop()
            self._own[name], self._uses[name] = elapsed - frame.inner, frame.uses
            if self._open:
                self._open[-1].inner += elapsed

    def seconds(self, name: str) -> float:
        """All that the block under this name needed, whoever asked for it first."""
        return self._own[name] + sum(self._own[used] for used in self._uses[name])
