"""Expected hypervolume improvement where costs are known: only the accuracy of a network is uncertain.

A Gaussian process learns accuracy (and any cost that is only measured in a trial) from finished and stopped trials;
the exact costs of every candidate enter as they are (Daulton et al., NeurIPS 2020, with all outcomes uncertain). Trials
still running count as what is expected of them, so that a batch spreads out.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.objective import Objective
from nas.samplers.base import SAMPLERS, Sampler, observed
from nas.samplers.candidates import Network, Pool, Rows
from nas.samplers.judge import Judge, Model, models_of
from nas.samplers.nsga2 import survival_order
from nas.samplers.scored import ScoredPool
from nas.trial import Expectation, Trial

if TYPE_CHECKING:
    from search_spaces.space import Code, Space

FEWEST = 4  # complete trials before anything is inferred
FRESH = 48  # random networks, and children of two parents, made for every proposal
ROUNDS, BEST, EACH = 3, 8, 8  # of refinement: mutants of each of the best candidates so far
WINDOW, LOOKED_AT = 16, 6  # networks of similar cost in the warm start, and how many of them are compared


@SAMPLERS.register("pareto")
class ParetoSampler(Sampler):
    """Spread over costs until `startup` trials are made, then the candidate expected to add the most hypervolume.

    What is kept between calls (candidates, models) follows from seed and history: it is a memory, not a state.
    """

    takes = frozenset({"startup", "population", "scores"})

    def __init__(self, objectives: Sequence[Objective], seed: int = 0, **settings: Any) -> None:
        super().__init__(objectives, seed, **settings)
        self._pool: Pool | None = None
        self._models: dict[int, tuple[object, dict[str, Model]]] = {}  # by the width of rows
        self._ranking: tuple[object, list[Network]] = (None, [])

    def propose(
        self, space: "Space", history: Sequence[Trial], pending: Sequence["Code"], number: int, attempt: int
    ) -> "Code":
        pool, rng = self._pool_of(space), self.rng(number, attempt)
        if not len(pool.groups):
            return space.sample(rng)
        known = [t for t in history if pool.encoding.knows(t.code)]
        running = [pool.tried(code) for code in pending if pool.encoding.knows(code)]
        made = [*(pool.tried(t.code) for t in known), *running]
        if len(made) < self.startup or len(observed(known, self.objectives)[0]) < FEWEST:
            return _spread(pool, made, rng, self.seed) or space.sample(rng)
        ranking = self._ranked(pool, known, running, number)
        return ranking[attempt].code if attempt < len(ranking) else space.sample(rng)

    def expectation(
        self, space: "Space", history: Sequence[Trial], pending: Sequence["Code"], code: "Code"
    ) -> dict[str, Expectation]:
        """Of accuracy, from the warm start on."""
        pool = self._pool_of(space)
        known = [t for t in history if pool.encoding.knows(t.code)]
        early = len(known) + len(pending) < self.startup or len(observed(known, self.objectives)[0]) < FEWEST
        if early or not len(pool.groups) or not pool.encoding.knows(code):
            return {}
        model = self._fitted(pool, known)["accuracy"]
        mean, deviation = model.observed(pool.rows([pool.tried(code)]))
        found = Expectation(mean=-float(mean[0]), deviation=float(deviation[0]), floor=-model.seen.far)
        return {"accuracy": found}

    def _pool_of(self, space: "Space") -> Pool:
        if self._pool is None or self._pool.space is not space or self._pool.knowledge is not self.knowledge:
            self._pool = Pool(space, self.knowledge, self.seed)
            self._models, self._ranking = {}, (None, [])
        return self._pool

    def _ranked(self, pool: Pool, known: list[Trial], running: list[Network], number: int) -> list[Network]:
        """Candidates for this trial, best first."""
        mark = (number, _mark(known), tuple(n.genotype for n in running))
        if self._ranking[0] != mark:
            self._ranking = mark, self._rank(pool, known, running, self.rng(number, 0))
        return self._ranking[1]

    def _rank(self, pool: Pool, known: list[Trial], running: list[Network], rng: np.random.Generator) -> list[Network]:
        seen, table = observed(known, self.objectives)
        judge = self._judge(pool, known, running)
        parents = [pool.tried(seen[i].code) for i in survival_order(table)[: self.population]]
        taken = {pool.tried(t.code).genotype for t in known} | {n.genotype for n in running}
        fresh = [*pool.random(rng, FRESH), *pool.crossed(parents, rng, FRESH)]
        networks = [*pool.base, *pool.more, *pool.published, *pool.children(parents), *fresh]
        return self._looked_at_twice(_refined(pool, judge, networks, taken, rng), pool, known, running)

    def _judge(self, rows: Rows, known: list[Trial], running: list[Network]) -> Judge:
        _, table = observed(known, self.objectives)
        return Judge(rows, self.objectives, self._fitted(rows, known), table, running)

    def _looked_at_twice(
        self, ranking: list[Network], pool: Pool, known: list[Trial], running: list[Network]
    ) -> list[Network]:
        """The first few in the order of a model that knows their zero-cost scores, where any of these is believed."""
        few, believed = self.knowledge.shortlist, self.knowledge.believed(known)
        if not believed or not ranking:
            return ranking
        scores = self._judge(ScoredPool(pool, believed, known), known, running).scores(ranking[:few])
        return [*(ranking[i] for i in np.argsort(-scores, kind="stable")), *ranking[few:]]

    def _fitted(self, rows: Rows, known: list[Trial]) -> dict[str, Model]:
        """One model per metric that only trials tell; a batch of proposals costs one fit, or two with scores."""
        mark, width = _mark(known), len(rows.groups)
        if self._models.get(width, (None, {}))[0] != mark:
            self._models[width] = mark, models_of(rows, self.objectives, known, self.seed)
        return self._models[width][1]


def _refined(
    pool: Pool, judge: Judge, networks: Iterable[Network], taken: set[Any], rng: np.random.Generator
) -> list[Network]:
    """Networks that were not tried and mutants of the best of them, best first."""
    found: list[Network] = []
    scores = np.empty(0)
    for _ in range(1 + ROUNDS):
        have = taken | {n.genotype for n in found}
        new = [n for n in pool.feasible(networks) if n.genotype not in have]
        if new:
            found, scores = found + new, np.concatenate([scores, judge.scores(new)])
        order = np.argsort(-scores, kind="stable")
        networks = pool.mutants([found[i] for i in order[:BEST]], rng, EACH)
    return [found[i] for i in order]


def _mark(trials: Sequence[Trial]) -> tuple[object, ...]:
    """Changes whenever anything that models are fitted to does."""
    return tuple((t.number, t.state, *sorted(t.values.items()), *t.curve[-1:]) for t in trials)


def _spread(pool: Pool, made: Sequence[Network], rng: np.random.Generator, seed: int) -> "Code | None":
    """Of networks at the next cost of a van der Corput sequence, the one least like those made already."""
    taken = {n.genotype for n in made}
    free = [n for n in pool.base if n.genotype not in taken]
    if not free:
        return None
    rows = pool.rows(free)
    costs = rows[:, -len(pool.names) :].mean(axis=1) if pool.names else np.zeros(len(free))
    shift = np.random.default_rng((seed, WINDOW)).random()
    place = int((_van_der_corput(len(made)) + shift) % 1 * max(len(free) - WINDOW, 0))
    window = np.argsort(costs, kind="stable")[place : place + WINDOW]
    few = rng.permutation(window)[:LOOKED_AT]
    if not made:
        return free[few[0]].code
    away = ((rows[few][:, None] - pool.rows(made)[None]) ** 2).sum(axis=2).min(axis=1)
    return free[few[int(np.argmax(away))]].code


def _van_der_corput(index: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8, ...: every prefix is spread evenly over 0..1."""
    digits = bin(index)[:1:-1]
    return sum(int(digit) / 2 ** (i + 1) for i, digit in enumerate(digits) if digit in "01")
