"""Networks that a sampler chooses from: random ones, children of what is known, each with its costs and its row."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nas.samplers.base import Knowledge
from nas.samplers.encoding import Encoding, Scale

if TYPE_CHECKING:
    from search_spaces.space import Code, Space

BASE = 128  # random networks, drawn once: for the warm start and the scale of rows
MORE = 384  # random networks, drawn once as well, when a model chooses
TRIES = 8  # random networks looked at for each that keeps to the constraints
CHILDREN = 16  # mutants of every parent, made once


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A code, what it decodes to, what it costs and its raw row of numbers."""

    code: "Code"
    genotype: Any
    costs: Mapping[str, float]
    spreads: Mapping[str, float]  # deviations of the logarithms of the costs that are predicted
    row: np.ndarray


class Rows(Protocol):
    """Networks as rows of numbers, for a model."""

    @property
    def knowledge(self) -> Knowledge: ...

    @property
    def base(self) -> list[Network]:
        """Random ones, within the constraints."""

    @property
    def names(self) -> list[str]:
        """Of the costs that are known."""

    @property
    def groups(self) -> np.ndarray:
        """(f,) group of each column."""

    def tried(self, code: "Code") -> Network:
        """The network of a trial."""

    def rows(self, networks: Sequence[Network]) -> np.ndarray:
        """(n, f)."""


class Pool:
    """Makes networks of one space. What it keeps follows from the seed: it is a memory, not a state."""

    def __init__(self, space: "Space", knowledge: Knowledge, seed: int) -> None:
        self.space, self.knowledge, self.seed = space, knowledge, seed
        self.encoding = Encoding(space)
        self._children: dict[Any, list[Network]] = {}
        self._tried: dict[tuple[tuple[str, Any], ...], Network] = {}
        rng = np.random.default_rng((seed, BASE))
        self._first = self._drawn(rng, BASE)
        self.base = self._within(self._first, rng)
        self.names = sorted(self.base[0].costs)
        self.groups = self.encoding.groups(len(self.names))
        self.scale = Scale(np.stack([n.row for n in self.base]), self.groups)

    @cached_property
    def more(self) -> list[Network]:
        """Further random networks, not in `base`."""
        have = {n.genotype for n in self.base}
        return [n for n in self._within(*self._further) if n.genotype not in have]

    @cached_property
    def anywhere(self) -> list[Network]:
        """Random networks as the space has them, within the constraints or not, each once."""
        return list({n.genotype: n for n in [*self._first, *self._further[0]]}.values())

    @cached_property
    def _further(self) -> tuple[list[Network], np.random.Generator]:
        """What `more` comes from, and the generator as it then is."""
        rng = np.random.default_rng((self.seed, MORE))
        return self._drawn(rng, MORE), rng

    @cached_property
    def published(self) -> list[Network]:
        """Those of the literature, found when they are first asked for: to write them as codes takes half a second."""
        return self.feasible(self.networks(self.knowledge.published()))

    def networks(self, codes: Iterable["Code"]) -> list[Network]:
        """In their order. Costs are asked for all at once: a profile predicts many in little more time than one."""
        listed = list(codes)
        genotypes = [self.space.decode(code) for code in listed]
        self.knowledge.expect(genotypes)
        return [self._network(code, genotype) for code, genotype in zip(listed, genotypes, strict=True)]

    def _network(self, code: "Code", genotype: Any) -> Network:
        costs = self.knowledge.costs(genotype)
        return Network(
            code=code, genotype=genotype, costs=costs, spreads=self.knowledge.spreads(genotype),
            row=self.encoding.row(code, costs),
        )  # fmt: skip

    def tried(self, code: "Code") -> Network:
        """The network of a trial, remembered."""
        key = tuple(code.items())
        if key not in self._tried:
            self._tried[key] = self.networks([code])[0]
        return self._tried[key]

    def rows(self, networks: Sequence[Network]) -> np.ndarray:
        """(n, f) scaled rows."""
        return self.scale.apply(np.stack([n.row for n in networks]))

    def feasible(self, networks: Iterable[Network]) -> list[Network]:
        """Those that keep to the constraints on costs, each network once."""
        return list({n.genotype: n for n in networks if not self._excess(n)}.values())

    def random(self, rng: np.random.Generator, count: int) -> list[Network]:
        return self.feasible(self._drawn(rng, count))

    def mutants(self, parents: Sequence[Network], rng: np.random.Generator, each: int) -> list[Network]:
        return self.networks(self.space.mutate(parent.code, rng) for parent in parents for _ in range(each))

    def children(self, parents: Sequence[Network]) -> Iterator[Network]:
        """The same mutants whenever a network is a parent."""
        for parent in parents:
            if parent.genotype not in self._children:
                rng = np.random.default_rng((self.seed, *parent.row.view(np.uint32)))
                self._children[parent.genotype] = self.mutants([parent], rng, CHILDREN)
            yield from self._children[parent.genotype]

    def crossed(self, parents: Sequence[Network], rng: np.random.Generator, count: int) -> list[Network]:
        """Children of two parents, every other one mutated as well."""
        return self.networks(self._crosses(parents, rng, count if len(parents) > 1 else 0))

    def _crosses(self, parents: Sequence[Network], rng: np.random.Generator, count: int) -> "Iterator[Code]":
        for i in range(count):
            a, b = rng.choice(len(parents), size=2, replace=False)
            code = self.space.crossover(parents[a].code, parents[b].code, rng)
            yield self.space.mutate(code, rng) if i % 2 else code

    def _drawn(self, rng: np.random.Generator, count: int) -> list[Network]:
        return self.networks(self.space.sample(rng) for _ in range(count))

    def _within(self, drawn: list[Network], rng: np.random.Generator) -> list[Network]:
        """Those that keep to the constraints, each once; where few do, mutants of the nearest, nearest first."""
        count = len(drawn)
        for _ in range(TRIES):
            good = self.feasible(drawn)
            if 2 * len(good) >= count or not any(map(self._excess, drawn)):
                return good
            drawn = sorted(drawn, key=self._excess)[:count]
            drawn += self.mutants(drawn[: count // 4], rng, 2)
        return self.feasible(drawn) or sorted(drawn, key=self._excess)[:1]

    def _excess(self, network: Network) -> float:
        """Sum of relative excesses over the limits of costs that are known; 0 when all hold."""
        limits = [c for c in self.knowledge.constraints if c.metric in network.costs]
        return sum(c.relative_excess(network.costs[c.metric]) for c in limits)
