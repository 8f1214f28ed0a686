"""What a tenth more room under a limit would gain, by the sampler's model of the trials.

Networks are drawn at random and mutated from the best, as a search does. Those that a limit alone excludes, and by a
tenth at most, are added to those within all limits; in draws from the posterior of the model, which take all networks
together, the front and the best accuracy of both sets are compared. What is learnt is drawn without noise: luck in
training is no gain. A cost that only trials tell is drawn as well, so that a network may break a limit in some draws.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.objective import Constraint, Objective, losses, metric_of
from nas.pareto import front_indices, hypervolume, reference_point
from nas.samplers.candidates import Network, Pool
from nas.samplers.judge import Model
from nas.samplers.nsga2 import survival_order
from nas.trial import Trial

RELAXED = 0.1  # by which a limit gives
PARENTS = 24  # of the trials, whose mutants are looked at
ROUNDS, BESIDE, EACH = 4, 8, 4  # of mutating, for every limit, the best on each side of it
DRAWS = 100
LOW, HIGH = 0.05, 0.95
MATTERS = 0.001  # of the hypervolume, or of accuracy: a gain below it is none
_STREAM = 0x1C  # keeps this draw apart from others of the same seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What is expected to be gained, and the ends of the 90 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """Of one limit. breaking, alone: shares of random networks that break it, and that break no other.

    networks: how many are known that only this limit excludes, by a tenth at most. volume: gain of the hypervolume
    within the reference point of the trials, as a share of it. accuracy: gain of the best. binds: yes, maybe or no.
    learnt: whether the cost is known from trials alone.
    """

    limit: Constraint
    breaking: float
    alone: float
    networks: int
    volume: Gain
    accuracy: Gain
    binds: str
    learnt: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Networks with draws of all that matters. excess: (draws, limits, n) how far each is beyond a limit.

    broken: (draws, limits, n) whether it is beyond. losses: (draws, n, objectives). drawn_at_random: how many of them,
    from the first on, show what the space is like.
    """

    excess: np.ndarray
    broken: np.ndarray
    losses: np.ndarray
    drawn_at_random: int


def relaxations(
    pool: Pool, objectives: Sequence[Objective], models: dict[str, Model], complete: Sequence[Trial]
) -> list[Relaxation]:
    """One per limit on a cost that is known or learnt. complete: trials that kept to all limits."""
    told = [*pool.names, *models]
    limits = [c for c in pool.knowledge.constraints if metric_of(c.metric).before_training and c.metric in told]
    if not limits:
        return []
    found = candidates(pool, objectives, limits, models, complete)
    reference = reference_point(losses([t.values for t in complete], tuple(objectives)))
    return [_relaxation(found, i, c, objectives, reference, c.metric in models) for i, c in enumerate(limits)]


def relaxed(limit: Constraint) -> Constraint:
    """The same with a tenth more room."""
    room = RELAXED * abs(limit.bound)
    return replace(limit, bound=limit.bound + (room if limit.operator == "<" else -room))


def volume_gain(within: np.ndarray, added: np.ndarray, reference: np.ndarray) -> float:
    """Share by which more networks raise the hypervolume; both are losses (n, objectives)."""
    front = within[front_indices(within)]
    before = hypervolume(front, reference)
    return hypervolume(np.vstack([front, added]), reference) / before - 1 if before > 0 else 0.0


def binding(gain: Gain) -> str:
    """Yes or no only where the whole interval says so."""
    if gain.low > MATTERS:
        return "yes"
    return "no" if gain.high <= MATTERS else "maybe"


def _relaxation(
    found: Candidates, i: int, limit: Constraint, objectives: Sequence[Objective], reference: np.ndarray, learnt: bool
) -> Relaxation:
    """A limit on an objective is judged by the best accuracy, since more cost is no gain there."""
    names, random = [o.name for o in objectives], slice(0, found.drawn_at_random)
    broken, within = found.broken[:, i], np.asarray(~found.broken.any(axis=1))
    alone = broken & (found.broken.sum(axis=1) == 1)
    added = alone & (found.excess[:, i] <= RELAXED * abs(limit.bound))
    draws = zip(found.losses, within, added, strict=True)
    volume = _gain(np.array([volume_gain(table[w], table[a], reference) for table, w, a in draws]))
    accuracy = _gain(_best_gain(found.losses[:, :, names.index("accuracy")], within, added))
    return Relaxation(
        limit=limit, breaking=float(broken[:, random].mean()), alone=float(alone[:, random].mean()),
        networks=round(added.sum(axis=1).mean()), volume=volume, accuracy=accuracy,
        binds=binding(accuracy if limit.metric in names else volume), learnt=learnt,
    )  # fmt: skip


def _best_gain(values: np.ndarray, within: np.ndarray, added: np.ndarray) -> np.ndarray:
    """(draws,) all three are (draws, n)."""
    best, more = (np.where(chosen, values, np.inf).min(axis=1) for chosen in (within, added))
    return np.maximum(best - more, 0.0)


def _gain(draws: np.ndarray) -> Gain:
    low, high = np.quantile(draws, [LOW, HIGH])
    return Gain(mean=float(draws.mean()), low=float(low), high=float(high))


def candidates(
    pool: Pool, objectives: Sequence[Objective], limits: Sequence[Constraint], models: dict[str, Model],
    complete: Sequence[Trial],
) -> Candidates:  # fmt: skip
    """Random networks, mutants of the best trials and of networks beside a limit, each once; the trials come last."""
    rng = np.random.default_rng((pool.seed, _STREAM))
    tried, random = [pool.tried(t.code) for t in complete], pool.anywhere
    table = losses([t.values for t in complete], tuple(objectives))
    parents = [tried[i] for i in survival_order(table)[:PARENTS]]
    fresh = _new([*random, *tried], pool.children(parents))
    for limit in limits:
        for _ in range(ROUNDS):
            beside = _beside(pool, limit, limits, models, [*random, *fresh])
            fresh += _new([*random, *tried, *fresh], pool.mutants(beside, rng, EACH))
    networks = [*random, *fresh, *tried]
    rows = pool.rows(networks)
    names = dict.fromkeys([*(o.name for o in objectives), *(c.metric for c in limits)])
    drawn = {name: _drawn(networks, rows, name, models, rng) for name in names}
    excess = np.stack([c.excess(drawn[c.metric]) for c in limits], axis=1)
    broken = excess > 0
    broken[:, :, -len(tried) :] = False  # what is complete has kept to all limits
    table = np.stack([o.sign * drawn[o.name] for o in objectives], axis=-1)
    return Candidates(excess=excess, broken=broken, losses=table, drawn_at_random=len(random))


def _new(known: Sequence[Network], networks: Iterable[Network]) -> list[Network]:
    """Those that are not known, each once."""
    have = {n.genotype for n in known}
    return list({n.genotype: n for n in networks if n.genotype not in have}.values())


def _beside(
    pool: Pool, limit: Constraint, limits: Sequence[Constraint], models: dict[str, Model], networks: list[Network]
) -> list[Network]:
    """The most accurate within a tenth of a limit, on both sides of it alike, the other limits kept."""
    rows = pool.rows(networks)
    excess = _excesses(networks, rows, limits, models)
    own = excess[limits.index(limit)] / (RELAXED * abs(limit.bound) or 1.0)
    kept = (np.delete(excess, limits.index(limit), axis=0) <= 0).all(axis=0)
    order = np.argsort(models["accuracy"].predict(rows)[0], kind="stable")
    sides = ((own > 0) & (own <= 1) & kept, (own <= 0) & (own >= -1) & kept)
    return [networks[i] for side in sides for i in order[side[order]][:BESIDE]]


def _excesses(
    networks: Sequence[Network], rows: np.ndarray, limits: Sequence[Constraint], models: dict[str, Model]
) -> np.ndarray:
    """(limits, n) as expected."""
    found = [c.excess(_expected(networks, rows, c.metric, models)) for c in limits]
    return np.array(found).reshape(len(limits), len(networks))


def _expected(networks: Sequence[Network], rows: np.ndarray, name: str, models: dict[str, Model]) -> np.ndarray:
    """(n,) a cost that is known, or as the model has it."""
    if name in models:
        return np.exp(models[name].predict(rows)[0])
    return np.array([n.costs[name] for n in networks])


def _drawn(
    networks: Sequence[Network], rows: np.ndarray, name: str, models: dict[str, Model], rng: np.random.Generator
) -> np.ndarray:
    """(draws, n) values of an objective in its own units."""
    if name not in models:
        return np.tile([n.costs[name] for n in networks], (DRAWS, 1))
    draws = models[name].draw(rows, DRAWS, rng)
    return np.exp(draws) if metric_of(name).before_training else np.clip(-draws, 0.0, 1.0)
