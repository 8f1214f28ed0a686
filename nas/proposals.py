"""Candidates worth a trial: proposed, decoded, checked for validity, duplicates and constraints before any work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.errors import UserError
from nas.genotype import Genotype
from nas.objective import COSTS, Constraint, metric_of
from nas.samplers.base import Sampler
from nas.trial import Trial
from search_spaces.space import Code, Space

PROPOSALS = 30  # asked from the sampler before falling back to mutation and random search
SEARCHED = 400  # networks looked at before a space is called infeasible


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A new, valid, affordable architecture. costs: the exact metrics, known before training."""

    code: Code
    genotype: Genotype
    hash: str
    costs: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a proposal was replaced."""

    reason: str
    detail: str
    hash: str


class Exhausted(Exception):
    """The space holds no further new, feasible architecture that could be found."""


class Proposer:
    """Asks the sampler until a candidate passes. `costs` maps a genotype to its exact metrics."""

    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        constraints: Sequence[Constraint],
        costs: Callable[[Genotype], dict[str, float]],
        seed: int,
    ) -> None:
        self.space, self.sampler, self.costs, self.seed = space, sampler, costs, seed
        self.constraints = [c for c in constraints if c.metric in COSTS]

    def next(
        self, trials: Sequence[Trial], number: int, refused: Callable[[Refusal], None], taken: set[str]
    ) -> Candidate:
        """The next candidate; every replaced proposal is reported to `refused`. Raises Exhausted."""
        finished = [t for t in trials if t.kind == "search" and t.state != "running"]
        pending = [t.code for t in trials if t.kind == "search" and t.state == "running"]
        for attempt in range(PROPOSALS):
            code = self.sampler.propose(self.space, finished, pending, number, attempt)
            found = self._examine(code, taken)
            if isinstance(found, Candidate):
                return found
            refused(found)
        return self._fall_back(finished, number, refused, taken)

    def _fall_back(
        self, finished: Sequence[Trial], number: int, refused: Callable[[Refusal], None], taken: set[str]
    ) -> Candidate:
        """Mutations of what is known, then random networks, repaired towards the constraints."""
        rng = np.random.default_rng((self.seed, number, 1))
        for attempt in range(SEARCHED):
            known = finished[int(rng.integers(len(finished)))].code if finished and attempt % 2 else None
            code = self.space.mutate(known, rng) if known else self.repair(self.space.sample(rng), rng, steps=20)
            found = self._examine(code, taken)
            if isinstance(found, Candidate):
                return found
            refused(found)
        raise Exhausted(f"no new feasible architecture among {PROPOSALS + SEARCHED} proposals; the space is exhausted")

    def _examine(self, code: Code, taken: set[str]) -> Candidate | Refusal:
        genotype = self.space.decode(code)
        problems = self.space.problems(genotype)
        name = genotype.hash()
        if problems:
            return Refusal(reason="invalid", detail=problems[0].partition(":")[0], hash=name)
        if name in taken:
            return Refusal(reason="duplicate", detail="", hash=name)
        costs = self.costs(genotype)
        for constraint in self.constraints:
            if not constraint.holds(costs[constraint.metric]):
                return Refusal(reason="constraint", detail=constraint.metric, hash=name)
        return Candidate(code=code, genotype=genotype, hash=name, costs=costs)

    def repair(self, code: Code, rng: np.random.Generator, steps: int) -> Code:
        """Walk by mutation towards the constraints: keep a step when it breaks them by less."""
        best, excess = code, self._excess(code)
        for _ in range(steps):
            if excess <= 0:
                break
            step = self.space.mutate(best, rng)
            worse = self._excess(step)
            if worse < excess:
                best, excess = step, worse
        return best

    def _excess(self, code: Code) -> float:
        """Sum of relative excesses over the cost constraints; 0 when all hold."""
        costs = self.costs(self.space.decode(code))
        return sum(max(0.0, c.excess(costs[c.metric])) / max(abs(c.bound), 1e-12) for c in self.constraints)

    def assert_feasible(self) -> None:
        """Raise UserError naming the binding constraint and by how much it must give, if nothing satisfies all."""
        if not self.constraints:
            return
        rng = np.random.default_rng((self.seed, 0, 2))
        codes = [self.space.sample(rng) for _ in range(SEARCHED)]
        codes.sort(key=self._excess)
        best = self.repair(codes[0], rng, steps=SEARCHED)
        if self._excess(best) <= 0:
            return
        costs = self.costs(self.space.decode(best))
        binding = max(self.constraints, key=lambda c: c.excess(costs[c.metric]) / max(abs(c.bound), 1e-12))
        nearest = costs[binding.metric]
        raise UserError(
            f"constraints.{binding.metric}: nothing in the space satisfies {binding}; the nearest found has "
            f"{nearest:.4g} {metric_of(binding.metric).unit}, so the limit must give by a factor of "
            f"{_factor(nearest, binding.bound)} (to about {nearest:.2g})"
        )


def _factor(value: float, bound: float) -> str:
    low, high = sorted((abs(value), abs(bound)))
    return f"{high / low:.2f}" if low > 0 else "more than any"
