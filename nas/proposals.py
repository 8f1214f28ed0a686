"""Candidates worth a trial: proposed, decoded, checked for validity, duplicates and constraints before any work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from nas.errors import UserError
from nas.genotype import Genotype
from nas.known_costs import Known, KnownCosts
from nas.objective import Constraint, metric_of
from nas.samplers.base import Sampler
from nas.trial import Expectation, Trial
from search_spaces.space import Code, Space

if TYPE_CHECKING:
    from nas.network_scores import NetworkScores

PROPOSALS = 30  # asked from the sampler before falling back to mutation and random search
SEARCHED = 400  # networks looked at before a space is called infeasible
AT_ONCE = 4  # steps tried together: a profile predicts several networks in the time of one


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A new, valid, affordable architecture, with what is known of it before training.

    expected: metric -> what its trial will find, where the sampler has a model.
    """

    code: Code
    genotype: Genotype
    hash: str
    known: Known
    expected: dict[str, Expectation] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a proposal was replaced."""

    reason: str
    detail: str
    hash: str


class Exhausted(Exception):
    """The space holds no further new, feasible architecture that could be found."""


class Proposer:
    """Asks the sampler until a candidate passes. free_mb: memory that a training may take, None where unknown.

    scores: gives every candidate its zero-cost scores; None where the campaign wants none.
    """

    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        constraints: Sequence[Constraint],
        costs: KnownCosts,
        seed: int,
        free_mb: float | None = None,
        scores: "NetworkScores | None" = None,
    ) -> None:
        self.space, self.sampler, self.costs, self.seed, self.free_mb = space, sampler, costs, seed, free_mb
        self.scores = scores
        self.constraints = [c for c in constraints if c.metric in costs.names]

    def next(
        self, trials: Sequence[Trial], number: int, refused: Callable[[Refusal], None], taken: set[str]
    ) -> Candidate:
        """The next candidate; every replaced proposal is reported to `refused`. Raises Exhausted."""
        return self._scored(self._acceptable(trials, number, refused, taken))

    def _scored(self, candidate: Candidate) -> Candidate:
        if self.scores is None:
            return candidate
        found, notes = self.scores.of(candidate.genotype), self.scores.notes(candidate.genotype)
        return replace(candidate, scores=dict(found), notes=notes)

    def _acceptable(
        self, trials: Sequence[Trial], number: int, refused: Callable[[Refusal], None], taken: set[str]
    ) -> Candidate:
        finished = [t for t in trials if t.kind == "search" and t.state != "running"]
        pending = [t.code for t in trials if t.kind == "search" and t.state == "running"]
        found = self._ask(finished, pending, number, refused, taken)
        expected = self.sampler.expectation(self.space, finished, pending, found.code)
        return replace(found, expected=expected)

    def _ask(
        self, finished: Sequence[Trial], pending: Sequence[Code], number: int, refused: Callable[[Refusal], None],
        taken: set[str],
    ) -> Candidate:  # fmt: skip
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
        known = self.costs.of(genotype)
        for constraint in self.constraints:
            if not constraint.holds(known.values[constraint.metric]):
                return Refusal(reason="constraint", detail=constraint.metric, hash=name)
        if self.free_mb is not None and known.training_mb > self.free_mb:
            needs = f"training needs {known.training_mb:.4g} MB at least, {self.free_mb:.4g} MB are free"
            return Refusal(reason="memory", detail=needs, hash=name)
        return Candidate(code=code, genotype=genotype, hash=name, known=known)

    def repair(self, code: Code, rng: np.random.Generator, steps: int) -> Code:
        """Walk by mutation towards the constraints: keep the best of a few steps when it breaks them by less."""
        best, excess = code, self._excesses([code])[0]
        while excess > 0 and steps > 0:
            tried = [self.space.mutate(best, rng) for _ in range(min(AT_ONCE, steps))]
            steps -= len(tried)
            found = self._excesses(tried)
            if min(found) < excess:
                best, excess = tried[int(np.argmin(found))], min(found)
        return best

    def _excesses(self, codes: Sequence[Code]) -> list[float]:
        """For each, the sum of relative excesses over the cost constraints; 0 when all hold."""
        known = self.costs.many([self.space.decode(code) for code in codes])
        return [sum(c.relative_excess(k.values[c.metric]) for c in self.constraints) for k in known]

    def assert_feasible(self) -> None:
        """Raise UserError naming the binding constraint and by how much it must give, if nothing satisfies all."""
        if not self.constraints:
            return
        rng = np.random.default_rng((self.seed, 0, 2))
        codes = [self.space.sample(rng) for _ in range(SEARCHED)]
        best = self.repair(codes[int(np.argmin(self._excesses(codes)))], rng, steps=SEARCHED)
        if self._excesses([best])[0] <= 0:
            return
        costs = self.costs(self.space.decode(best))
        binding = max(self.constraints, key=lambda c: c.relative_excess(costs[c.metric]))
        nearest = costs[binding.metric]
        raise UserError(
            f"constraints.{binding.metric}: nothing in the space satisfies {binding}; the nearest found has "
            f"{nearest:.4g} {metric_of(binding.metric).unit}, so the limit must give by a factor of "
            f"{_factor(nearest, binding.bound)} (to about {nearest:.2g})"
        )


def _factor(value: float, bound: float) -> str:
    low, high = sorted((abs(value), abs(bound)))
    return f"{high / low:.2f}" if low > 0 else "more than any"
