"""Complete tables as spaces: every architecture with its error and its costs, so that the true front is known.

A table of this form is a CSV file, one row per architecture: a column `arch_str`, or columns `op0`, `op1`, ... with one
choice each; a column of accuracies in percent; and one or more columns of costs whose names begin with `lat_ms__`.
`arch_str` is a cell as NAS-Bench-201 writes it: for every node after the input (node 0) the operations that enter it,
each with the node it comes from, `|conv~0|+|none~0|skip~1|`. `none` passes nothing on; the last node is the output.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from sampler_problem import Problem

from search_spaces.space import Code, Dimension

PREFIX = "lat_ms__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """choices: (n, places) of every architecture; accuracy: (n,) as a fraction; costs: (n,) in ms per device.

    edges: of a cell, the nodes (from, to) that each place connects, in the order of the places.
    """

    name: str
    choices: tuple[tuple[str, ...], ...]
    accuracy: np.ndarray
    costs: dict[str, np.ndarray]
    edges: tuple[tuple[int, int], ...] = ()


def read_table(path: Path, accuracy: str) -> Table:
    """Raises KeyError where a column is missing."""
    frame = pd.read_csv(path)
    edges: tuple[tuple[int, int], ...] = ()
    if "arch_str" in frame:
        edges = _edges(frame["arch_str"].iloc[0])
        choices = [tuple(re.findall(r"(\w+)~", text)) for text in frame["arch_str"]]
    else:
        places = sorted((c for c in frame if re.fullmatch(r"op\d+", c)), key=lambda c: int(c[2:]))
        choices = [tuple(map(str, row)) for row in frame[places].to_numpy()]
    costs = {c.removeprefix(PREFIX): frame[c].to_numpy(float) for c in frame if c.startswith(PREFIX)}
    return Table(
        name=path.name.partition(".")[0], choices=tuple(choices), costs=costs, edges=edges,
        accuracy=frame[accuracy].to_numpy(float) / 100,
    )  # fmt: skip


def _edges(text: str) -> tuple[tuple[int, int], ...]:
    nodes = enumerate(text.split("+"), start=1)
    return tuple((int(source), node) for node, part in nodes for source in re.findall(r"~(\d+)", part))


class TableSpace:
    """The rows of a table behind the interface of `search_spaces.space.Space`. A network is its tuple of choices."""

    def __init__(self, table: Table) -> None:
        self._rows, self._known, self._edges = table.choices, set(table.choices), table.edges
        columns = [tuple(sorted(set(column))) for column in zip(*table.choices, strict=True)]
        self.dimensions = tuple(Dimension(name=f"op{i}", choices=column) for i, column in enumerate(columns))

    def decode(self, code: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(code[d.name] for d in self.dimensions)

    def active(self, code: Mapping[str, str]) -> frozenset[str]:
        """Of a cell, the edges that lie on a way from its input to its output; else all."""
        if not self._edges:
            return frozenset(code)
        used = [edge for edge, choice in zip(self._edges, self.decode(code), strict=True) if choice != "none"]
        fed, heard = {0}, {self._edges[-1][1]}
        for source, node in used:  # nodes come in their order
            fed |= {node} if source in fed else set()
        for source, node in reversed(used):
            heard |= {source} if node in heard else set()
        matter = [source in fed and node in heard for source, node in self._edges]
        return frozenset(d.name for d, matters in zip(self.dimensions, matter, strict=True) if matters)

    def problems(self, network: tuple[str, ...]) -> list[str]:
        return [] if network in self._known else ["not in the table"]

    def sample(self, rng: np.random.Generator) -> Code:
        return self.code(self._rows[rng.integers(len(self._rows))])

    def mutate(self, code: Code, rng: np.random.Generator) -> Code:
        """One to three choices made anew, as in the real spaces."""
        return self._until_known(lambda: self._changed(code, rng), code)

    def crossover(self, a: Code, b: Code, rng: np.random.Generator) -> Code:
        return self._until_known(lambda: {name: (a, b)[rng.integers(2)][name] for name in a}, a)

    def repair(self, code: Mapping[str, str], rng: np.random.Generator) -> Code | None:
        return dict(code) if self.decode(code) in self._known else None

    def code(self, network: tuple[str, ...]) -> Code:
        return {d.name: choice for d, choice in zip(self.dimensions, network, strict=True)}

    def _changed(self, code: Code, rng: np.random.Generator) -> Code:
        child = dict(code)
        for index in rng.permutation(len(self.dimensions))[: rng.integers(1, 4)]:
            dimension = self.dimensions[index]
            child[dimension.name] = dimension.sample(rng, other_than=code[dimension.name])
        return child

    def _until_known(self, draw: Callable[[], Code], otherwise: Code) -> Code:
        for _ in range(100):
            code = draw()
            if self.decode(code) in self._known:
                return code
        return otherwise


@dataclass(frozen=True, kw_only=True)
class CellProblem(Problem):
    """One complete table on one device; a proposal is a row, perhaps one that was tried."""

    source: Table
    device: str
    cost = "latency_ms"

    @property
    def table(self) -> str:
        return self.source.name

    @cached_property
    def space(self) -> TableSpace:
        return TableSpace(self.source)

    @property
    def whole(self) -> TableSpace:
        return self.space

    @property
    def size(self) -> int:
        return len(self.source.choices)

    @cached_property
    def place(self) -> dict[tuple[str, ...], int]:
        return {choices: i for i, choices in enumerate(self.source.choices)}

    def settle(self, code: Code, tried: Collection[int]) -> int:
        return self.place[self.space.decode(code)]

    def code(self, place: int) -> Code:
        return self.space.code(self.network(place))

    def network(self, place: int) -> tuple[str, ...]:
        return self.source.choices[place]

    def costs(self, network: tuple[str, ...]) -> dict[str, float]:
        return {"latency_ms": float(self.source.costs[self.device][self.place[network]])}

    def accuracy(self, place: int) -> float:
        return float(self.source.accuracy[place])

    @cached_property
    def reference(self) -> np.ndarray:
        """The worst corner of the table."""
        return self.losses.max(axis=0)
