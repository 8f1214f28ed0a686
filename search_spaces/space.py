"""A search space: named dimensions, what they decode to, and moves between codes that keep to the rules.

A code holds a choice for every dimension, so that samplers see a fixed-length vector; which dimensions matter for
a given code is found by watching which ones are read while its genotype is put together.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np

from nas.errors import UserError
from nas.genotype import Atom, Genotype
from search_spaces.canonical import canonical
from search_spaces.restriction import restricted
from search_spaces.rules import Problem, find_problems

Choice = str | int | float
Code = dict[str, Choice]
Read = Callable[[str], Any]

ROUNDS = 100  # repairs of one code before it is given up
TRIES = 20  # fresh codes, mutants or children before falling back


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One choice of a space. ordered: the choices are numbers in rising order."""

    name: str
    choices: tuple[Choice, ...]
    ordered: bool = False
    help: str = ""

    @property
    def group(self) -> str:
        """Dimensions that are inherited together: those of one stage, or the dimension alone."""
        return self.name.partition(".")[0]

    @property
    def part(self) -> str:
        """What it says about its group: `width` of `stage1.width`."""
        return self.name.rpartition(".")[2]

    def sample(self, rng: np.random.Generator, other_than: Choice | None = None) -> Choice:
        """First a mechanism, then its parameters, so that many parameters do not make a mechanism frequent."""
        families = _families(self.choices, other_than)
        family = families[rng.integers(len(families))]
        return family[rng.integers(len(family))]


@lru_cache(maxsize=65536)
def _families(choices: tuple[Choice, ...], other_than: Choice | None) -> tuple[tuple[Choice, ...], ...]:
    families: dict[Choice, list[Choice]] = {}
    for choice in choices:
        if choice != other_than or len(choices) == 1:
            families.setdefault(choice.partition("(")[0] if isinstance(choice, str) else choice, []).append(choice)
    return tuple(tuple(f) for f in families.values())


@dataclass(frozen=True, kw_only=True)
class Space:
    """What can be searched for one kind of data. Subclasses say in `assemble` what a code means.

    resolutions: further image sizes at which every network must be valid (V15). local_only: networks in which no
    layer sees the whole image are allowed (V12).
    """

    name: str
    version: str
    image_size: int
    in_chans: int
    classes: int
    dimensions: tuple[Dimension, ...]
    resolutions: tuple[int, ...] = ()
    local_only: bool = False

    def assemble(self, read: Read) -> Genotype:
        """The genotype of a code whose choices are asked for by name; only what matters may be read."""
        raise NotImplementedError

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with any dimension or choice: whether codes mean the same in both."""
        text = json.dumps([self.name, self.version, [(d.name, d.choices) for d in self.dimensions]])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @cached_property
    def by_name(self) -> dict[str, Dimension]:
        return {d.name: d for d in self.dimensions}

    def decode(self, code: Mapping[str, Choice]) -> Genotype:
        """The canonical genotype of a code, valid or not."""
        return self.canonical(self.assemble(_reader(code)))

    def codes_like(self, genotype: Genotype) -> Iterator[Code]:
        """Codes that may decode to a canonical genotype or to one that is very like it. A space need not know any."""
        return iter(())

    def encode(self, genotype: Genotype) -> Code | None:
        """A code that decodes to this genotype, or None where there is none."""
        wanted = self._canonical_or_none(genotype)
        found = self.codes_like(wanted) if wanted is not None else iter(())
        return next((code for code in found if self.decode(code) == wanted), None)

    def nearest(self, genotype: Genotype) -> Code | None:
        """The valid code of this genotype or of one very like it, or None where the space says nothing of the kind."""
        wanted = self._canonical_or_none(genotype)
        found = self.codes_like(wanted) if wanted is not None else iter(())
        return self.encode(genotype) or next((code for code in found if not self.problems(self.decode(code))), None)

    def _canonical_or_none(self, genotype: Genotype) -> Genotype | None:
        """None where the image is too small for it, or nothing of the name is known."""
        try:
            return self.canonical(genotype)
        except UserError:
            return None

    def active(self, code: Mapping[str, Choice]) -> frozenset[str]:
        """The dimensions that matter for this code."""
        seen: set[str] = set()
        read = _reader(code)

        def watched(name: str) -> Choice:
            seen.add(name)
            return read(name)

        self.assemble(watched)
        return frozenset(seen)

    def canonical(self, genotype: Genotype) -> Genotype:
        """The one form among all that compute the same at this image size."""
        return canonical(genotype, image_size=self.image_size)

    def problems(self, genotype: Genotype) -> list[str]:
        """Which rules a genotype breaks, such as "V6: softmax attention over 3136 tokens in stage 1; at most 1024"."""
        return [str(p) for p in self._problems(genotype)]

    def sample(self, rng: np.random.Generator) -> Code:
        """A valid code. Raises UserError where the space seems to hold none."""
        for _ in range(TRIES):
            code = self.repair({d.name: d.sample(rng) for d in self.dimensions}, rng)
            if code is not None:
                return code
        rest = self.problems(self.decode({d.name: d.sample(rng) for d in self.dimensions}))
        hint = f"; for example {rest[0]}" if rest else ""
        raise UserError(f"space {self.name} as it is restricted holds no valid network for {self.image_size} px{hint}")

    def mutate(self, code: Code, rng: np.random.Generator) -> Code:
        """A valid code with one to three of the active choices made anew."""
        before = self.decode(code)
        child = dict(code)
        for _ in range(TRIES):
            child = self._changed(code, rng)
            genotype = self.decode(child)
            if genotype != before and not self._problems(genotype):
                return child
        return self._settle(child, code, rng)

    def crossover(self, a: Code, b: Code, rng: np.random.Generator) -> Code:
        """A valid child that takes every group of dimensions from one of its parents."""
        child = dict(a)
        for _ in range(TRIES):
            source = {group: (a, b)[rng.integers(2)] for group in dict.fromkeys(d.group for d in self.dimensions)}
            child = {d.name: source[d.group][d.name] for d in self.dimensions}
            if not self._problems(self.decode(child)):
                return child
        return self._settle(child, a, rng)

    def repair(self, code: Mapping[str, Choice], rng: np.random.Generator) -> Code | None:
        """The code made valid by drawing anew what its problems name, or None after many rounds."""
        found = dict(code)
        for _ in range(ROUNDS):
            problems = self._problems(self.decode(found))
            if not problems:
                return found
            name = self._culprit(found, problems[rng.integers(len(problems))], rng)
            found[name] = self.by_name[name].sample(rng, other_than=found[name])
        return None

    def restrict(self, fix: Mapping[str, Any] | None = None, narrow: Mapping[str, Sequence[Any]] | None = None) -> Self:
        """A space with some dimensions fixed to one choice and others narrowed to a few.

        Keys are names, patterns such as "stage*.mixer_a", or "mixers" for all mixer dimensions; choices are exact
        ("window(divisions=2)") or name a mechanism with all its parameters ("window"). Raises UserError.
        """
        if not fix and not narrow:
            return self
        narrowed = replace(self, dimensions=restricted(self.dimensions, fix or {}, narrow or {}))
        narrowed.sample(np.random.default_rng(0))
        return narrowed

    def _problems(self, genotype: Genotype) -> list[Problem]:
        return find_problems(
            genotype,
            image_size=self.image_size,
            resolutions=self.resolutions,
            local_only=self.local_only,
        )

    def _free(self, code: Code) -> list[Dimension]:
        """Active dimensions with more than one choice, in a fixed order."""
        active = self.active(code)
        return [d for d in self.dimensions if d.name in active and len(d.choices) > 1]

    def _changed(self, code: Code, rng: np.random.Generator) -> Code:
        child, free = dict(code), self._free(code)
        count = min(len(free), int(rng.integers(1, 4)))
        for index in rng.permutation(len(free))[:count]:
            child[free[index].name] = free[index].sample(rng, other_than=code[free[index].name])
        return child

    def _settle(self, child: Code, parent: Code, rng: np.random.Generator) -> Code:
        repaired = self.repair(child, rng)
        return dict(parent) if repaired is None else repaired

    def _culprit(self, code: Code, problem: Problem, rng: np.random.Generator) -> str:
        """A dimension whose change may solve a problem: one it names if there is any, else any that is free."""
        free = self._free(code) or list(self.dimensions)
        named = [d for d in free if d.part in problem.parts and self.concerns(code, d, problem.stage)]
        chosen = named or free
        return chosen[rng.integers(len(chosen))].name

    def concerns(self, code: Mapping[str, Choice], dimension: Dimension, stage: int | None) -> bool:
        """Whether a dimension belongs to a stage (counted from 0); the network's own belong to all."""
        return True


def _reader(code: Mapping[str, Choice]) -> Read:
    def read(name: str) -> Choice:
        if name not in code:
            raise UserError(f"code: dimension {name!r} is missing; was it made by another version of the space?")
        return code[name]

    return read


@lru_cache(maxsize=4096)
def parsed(text: str) -> Atom:
    """Atom.parse, remembered: the same few texts are read for every candidate."""
    return Atom.parse(text)
