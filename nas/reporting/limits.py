"""Which limit binds, and what a tenth more would gain, as the sampler's model of the trials has it.

Networks are drawn at random and mutated from the best, as a search does. Those that a limit alone excludes, and by a
tenth at most, are added to those within all limits; in draws from the posterior of the model, which take all networks
together, the front and the best accuracy of both sets are compared. What is learnt is drawn without noise: luck in
training is no gain.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from nas.objective import Constraint, Objective, losses, metric_of
from nas.pareto import front_indices, hypervolume, reference_point
from nas.reporting.pool import pool_of
from nas.reporting.theme import noun_of, number, percent
from nas.run import Run
from nas.samplers.candidates import Network, Pool
from nas.samplers.judge import Model, fit, to_learn
from nas.samplers.nsga2 import survival_order
from nas.trial import Trial

RELAXED = 0.1  # by which a limit gives
ENOUGH = 12  # complete trials for a model
PARENTS = 24  # of the trials, whose mutants are looked at
ROUNDS, BESIDE, EACH = 4, 8, 4  # of mutating, for every limit, the best on each side of it
FEW = 10  # networks below which little is known of what a limit excludes
DRAWS = 100
MATTERS = 0.001  # of the hypervolume, or of accuracy: a gain below it is none
_STREAM = 0x1C  # keeps this draw apart from others of the same seed
COLUMNS = ["limit", "metric", "bound", "relaxed", "breaking", "alone", "networks", "gain", "gain_low", "gain_high",
           "accuracy", "accuracy_low", "accuracy_high", "binds", "learnt"]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Networks with draws of all that matters. excess: (limits, n) how far each is beyond a limit, as expected.

    losses: (draws, n, objectives). drawn_at_random: how many of them, from the first on, show what the space is like.
    """

    excess: np.ndarray
    losses: np.ndarray
    drawn_at_random: int


def limits_table(run: Run) -> pd.DataFrame:
    """One row per limit on a cost: share of random networks that break it, or it alone; gains with 90 % intervals.

    networks: that only this limit excludes, by a tenth at most. gain: of the hypervolume within the present reference
    point, as a share of it. accuracy: gain of the best accuracy. binds: yes, maybe or no. learnt: whether the cost is
    known from trials alone. Empty where nothing can be said; `limits_words` says why.
    """
    pool = pool_of(run) if _costs_limited(run) and len(run.complete()) >= ENOUGH else None
    if pool is None:
        return pd.DataFrame(columns=COLUMNS)
    pool = Pool(pool.space, replace(pool.knowledge, constraints=()), pool.seed)
    history = [t for t in run.searched() if t.state != "running" and pool.encoding.knows(t.code)]
    complete = [t for t in run.complete() if pool.encoding.knows(t.code)]
    if len(complete) < ENOUGH:
        return pd.DataFrame(columns=COLUMNS)
    wanted = [Objective(name=c.metric, direction="minimize") for c in _costs_limited(run)]
    objectives = run.campaign.objective_list
    models = {m.name: fit(pool, history, m, pool.seed) for m in to_learn(pool, [*wanted, *objectives], history)}
    limits = [_scaled(run, c) for c in _costs_limited(run) if c.metric in pool.names or c.metric in models]
    found = candidates(pool, objectives, limits, models, complete)
    return pd.DataFrame(list(_judged(run, limits, found, complete, models)), columns=COLUMNS)


def candidates(
    pool: Pool, objectives: Sequence[Objective], limits: Sequence[Constraint], models: dict[str, Model],
    complete: Sequence[Trial],
) -> Candidates:  # fmt: skip
    """Random networks, mutants of the best trials and of networks beside a limit, each once; the trials come last."""
    rng = np.random.default_rng((pool.seed, _STREAM))
    tried = [pool.tried(t.code) for t in complete]
    table = losses([t.values for t in complete], tuple(objectives))
    parents = [tried[i] for i in survival_order(table)[:PARENTS]]
    random = [*pool.base, *pool.more]
    fresh = _new([*random, *tried], pool.children(parents))
    for limit in limits:
        for _ in range(ROUNDS):
            beside = _beside(pool, limit, limits, models, [*random, *fresh])
            fresh += _new([*random, *tried, *fresh], pool.mutants(beside, rng, EACH))
    networks = [*random, *fresh, *tried]
    rows = pool.rows(networks)
    drawn = [o.sign * _drawn(networks, rows, o.name, models, rng) for o in objectives]
    return Candidates(
        excess=_excesses(networks, rows, limits, models), losses=np.stack(drawn, axis=-1), drawn_at_random=len(random)
    )


def _new(known: Sequence[Network], networks: Iterable[Network]) -> list[Network]:
    """Those that are not known, each once."""
    have = {n.genotype for n in known}
    return list({n.genotype: n for n in networks if n.genotype not in have}.values())


def _beside(
    pool: Pool, limit: Constraint, limits: Sequence[Constraint], models: dict[str, Model], networks: list[Network]
) -> list[Network]:
    """The most promising within a tenth of a limit, on both sides of it alike, the other limits kept."""
    rows = pool.rows(networks)
    excess = _excesses(networks, rows, limits, models)
    own = excess[limits.index(limit)] / (RELAXED * abs(limit.bound) or 1.0)
    kept = (np.delete(excess, limits.index(limit), axis=0) <= 0).all(axis=0)
    quality = next((m.predict(rows)[0] for m in models.values()), np.zeros(len(rows)))
    order = np.argsort(quality, kind="stable")
    sides = ((own > 0) & (own <= 1) & kept, (own <= 0) & (own >= -1) & kept)
    return [networks[i] for side in sides for i in order[side[order]][:BESIDE]]


def _excesses(
    networks: Sequence[Network], rows: np.ndarray, limits: Sequence[Constraint], models: dict[str, Model]
) -> np.ndarray:
    """(limits, n)"""
    found = [c.excess(_expected(networks, rows, c.metric, models)) for c in limits]  # type: ignore[arg-type]
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


def _judged(
    run: Run, limits: Sequence[Constraint], found: Candidates, complete: Sequence[Trial], models: dict[str, Model]
) -> Iterator[dict[Any, Any]]:
    objectives = run.campaign.objective_list
    broken = found.excess > 0
    broken[:, -len(complete) :] = False  # what is complete has kept to all limits
    reference = reference_point(losses([t.values for t in complete], objectives))
    within = found.losses[:, ~broken.any(axis=0)]
    place = [o.name for o in objectives].index("accuracy")
    for i, limit in enumerate(limits):
        alone = broken[i] & (broken.sum(axis=0) == 1)
        added = found.losses[:, alone & (found.excess[i] <= RELAXED * abs(limit.bound))]
        random = slice(0, found.drawn_at_random)
        gains = np.array([_gain(a, b, reference) for a, b in zip(within, added, strict=True)])
        row = {
            "limit": str(_scaled(run, limit, -1)), "metric": limit.metric, "bound": _scaled(run, limit, -1).bound,
            "relaxed": relaxed(_scaled(run, limit, -1)).bound,
            "breaking": broken[i, random].mean(), "alone": alone[random].mean(), "networks": added.shape[1],
            "learnt": limit.metric in models,
        } | _interval("gain", gains)  # fmt: skip
        best = within[:, :, place].min(axis=1)
        more = np.minimum(best, added[:, :, place].min(axis=1)) if added.shape[1] else best
        row |= _interval("accuracy", best - more)
        yield row | {"binds": _binds(row, limit.metric in run.campaign.objectives)}


def _gain(within: np.ndarray, added: np.ndarray, reference: np.ndarray) -> float:
    """Share by which more networks raise the hypervolume."""
    front = within[front_indices(within)]
    before = hypervolume(front, reference)
    return hypervolume(np.vstack([front, added]), reference) / before - 1 if before > 0 else 0.0


def _interval(name: str, values: np.ndarray) -> dict[Any, Any]:
    middle, low, high = np.quantile(values, [0.5, 0.05, 0.95])
    return {name: float(middle), f"{name}_low": float(low), f"{name}_high": float(high)}


def _binds(row: dict[Any, Any], by_accuracy: bool) -> str:
    """By the hypervolume; where the limit is on an objective by the best accuracy, since more cost is no gain there."""
    name = "accuracy" if by_accuracy else "gain"
    if row[f"{name}_low"] > MATTERS:
        return "yes"
    return "maybe" if row[name] > MATTERS else "no"


def relaxed(limit: Constraint) -> Constraint:
    """The same with a tenth more room."""
    room = RELAXED * abs(limit.bound)
    return replace(limit, bound=limit.bound + (room if limit.operator == "<" else -room))


def _costs_limited(run: Run) -> list[Constraint]:
    return [c for c in run.campaign.constraint_list if metric_of(c.metric).before_training]


def _scaled(run: Run, limit: Constraint, power: int = 1) -> Constraint:
    """As the trials of the run have the metric, where predictions were scaled in the end; -1 undoes it."""
    return replace(limit, bound=limit.bound * run.scales.get(limit.metric, 1.0) ** power)


def limits_words(run: Run, table: pd.DataFrame) -> str:
    """Which limit binds and what a tenth more would gain; or why that cannot be said."""
    limits = _costs_limited(run)
    if not limits:
        return "No cost is limited, so that no limit binds."
    if len(run.complete()) < ENOUGH:
        return f"What a limit costs is estimated from {ENOUGH} complete trials on; there are {len(run.complete())}."
    if table.empty:
        return "What a limit costs cannot be said: the campaign's space, or a profile, is not at hand any more."
    missing = [noun_of(c.metric) for c in limits if c.metric not in set(table["metric"])]
    lost = f" Nothing can be said of {', '.join(missing)}, whose profile is not at hand." if missing else ""
    rows = sorted(table.to_dict("records"), key=lambda r: (["yes", "maybe", "no"].index(r["binds"]), -r["gain"]))
    head = _verdict(rows)
    tail = "Gains are expected by the sampler's model of the trials, with 90 % intervals; nothing was trained for them."
    return " ".join([head, *(_limit_words(run, r) for r in rows), tail]) + lost


def _verdict(rows: list[dict[Any, Any]]) -> str:
    sure = [noun_of(str(r["metric"])) for r in rows if r["binds"] == "yes"]
    open_ = [noun_of(str(r["metric"])) for r in rows if r["binds"] == "maybe"]
    if sure:
        return f"The limit on {' and that on '.join(sure)} bind{'s' if len(sure) == 1 else ''}."
    return f"The limit on {' or that on '.join(open_)} may bind." if open_ else "No limit binds."


def _limit_words(run: Run, row: dict[Any, Any]) -> str:
    name, about = row["metric"], "about " if row["learnt"] else ""
    breaking, alone = percent(row["breaking"]), percent(row["alone"])
    words = (
        f"{row['limit']}: {about}{breaking} of random networks break it, {about}{alone} break it alone; "
        f"at {number(name, row['relaxed'])} "
    )
    if not row["networks"]:
        return words + "nothing was found that only this limit excludes."
    gains = []
    if name not in run.campaign.objectives:
        gains.append(f"the hypervolume gains {_range(row, 'gain', '%')}")
    gains.append(f"the best accuracy gains {_range(row, 'accuracy', 'points')}")
    few = f", judged by {row['networks']} networks only" if row["networks"] < FEW else ""
    return f"{words}{' and '.join(gains)}{few}."


def _range(row: dict[Any, Any], name: str, unit: str) -> str:
    """0.4 % (0 to 1.2); nothing."""
    middle, low, high = (100 * row[k] for k in (name, f"{name}_low", f"{name}_high"))
    if high < 0.05:
        return "nothing"
    return f"{middle:.1f} {unit} ({low:.1f} to {high:.1f})"
