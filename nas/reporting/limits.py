"""Which limit binds, and what a tenth more would gain, as the sampler's model of the trials has it: `nas/limits.py`."""

from dataclasses import replace
from typing import Any

import pandas as pd

from nas.limits import Gain, Relaxation, relaxations, relaxed
from nas.objective import Constraint, metric_of
from nas.reporting.surrogate import Surrogate
from nas.reporting.theme import noun_of, number, percent
from nas.run import Run

ENOUGH = 12  # complete trials for a model
FEW = 10  # networks below which little is known of what a limit excludes
COLUMNS = ["limit", "metric", "bound", "relaxed", "breaking", "alone", "networks", "gain", "gain_low", "gain_high",
           "accuracy", "accuracy_low", "accuracy_high", "binds", "learnt"]  # fmt: skip


def limits_table(run: Run, surrogate: Surrogate) -> pd.DataFrame:
    """One row per limit on a cost: share of random networks that break it, or it alone; gains with 90 % intervals.

    networks: that only this limit excludes, by a tenth at most. gain: of the hypervolume within the present reference
    point, as a share of it. accuracy: gain of the best accuracy. binds: yes, maybe or no. learnt: whether the cost is
    known from trials alone. Empty where nothing can be said; `limits_words` says why.
    """
    if not _costs_limited(run) or len(run.complete()) < ENOUGH or len(surrogate.complete) < ENOUGH:
        return pd.DataFrame(columns=COLUMNS)
    assert surrogate.pool is not None
    found = relaxations(surrogate.pool, run.campaign.objective_list, surrogate.models, surrogate.complete)
    return pd.DataFrame([_row(run, r) for r in found], columns=COLUMNS)


def _row(run: Run, found: Relaxation) -> dict[str, Any]:
    limit = _unscaled(run, found.limit)
    return {
        "limit": str(limit), "metric": limit.metric, "bound": limit.bound, "relaxed": relaxed(limit).bound,
        "breaking": found.breaking, "alone": found.alone, "networks": found.networks, "binds": found.binds,
        "learnt": found.learnt, **_interval("gain", found.volume), **_interval("accuracy", found.accuracy),
    }  # fmt: skip


def _interval(name: str, gain: Gain) -> dict[str, float]:
    return {name: gain.mean, f"{name}_low": gain.low, f"{name}_high": gain.high}


def _unscaled(run: Run, limit: Constraint) -> Constraint:
    """As the campaign has it: the trials' metric is scaled where predictions were, in the end."""
    return replace(limit, bound=limit.bound / run.scales.get(limit.metric, 1.0))


def _costs_limited(run: Run) -> list[Constraint]:
    return [c for c in run.campaign.constraint_list if metric_of(c.metric).before_training]


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
    tail = "Gains are those of the sampler's model of the trials, with 90 % intervals; nothing was trained for them."
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
        gains.append(f"the hypervolume is expected to gain {_range(row, 'gain', '%')}")
    gains.append(f"the best accuracy is expected to gain {_range(row, 'accuracy', 'points')}")
    few = f", judged by {row['networks']} networks only" if row["networks"] < FEW else ""
    return f"{words}{' and '.join(gains)}{few}."


def _range(row: dict[Any, Any], name: str, unit: str) -> str:
    """0.4 % (0 to 1.2); nothing."""
    middle, low, high = (100 * row[k] for k in (name, f"{name}_low", f"{name}_high"))
    if high < 0.05:
        return "nothing"
    return f"{middle:.1f} {unit} ({low:.1f} to {high:.1f})"
