"""Which mechanism wins at which cost: the most accurate networks of each mechanism in bands of cost, with their doubt.

A network counts for the mechanism that most of its blocks use. The best of many noisy accuracies is an overestimate, so
true accuracies are taken as normal around what the trials of a band have in common (empirical Bayes; Efron and Morris,
JASA 70, 1975), and a mechanism wins as often as it holds the best of them in draws.
"""

from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from nas.objective import metric_of
from nas.pareto import ranks, worst_inlier
from nas.reporting.classes import class_of, main_mechanism
from nas.reporting.theme import INK, NARROW, QUIET, finish, noun_of, number, percent, rows
from nas.run import Run
from nas.trial import Trial
from nas.uncertainty import counting_variance

BANDS = 4  # at most
EACH = 6  # trials that a band should hold at least
NEAR = 3  # non-dominated layers whose costs set the bands
FEW = 3  # trials of a mechanism in a band below which little is known of it
SURE = 0.9  # probability from which a win is no tie
DRAWS = 2000
LEAST = 0.1  # the spread of true accuracies in a band, at least, as a share of the variance of their errors
SHOWN, NAMED = 14, 3  # mechanisms in the picture; rivals in a tie that are named
ROOM_BESIDE, ROOM_EACH = 110, 70  # pixels that names of mechanisms and the words of one band take
VALIDATION = 1000  # pictures, where the record does not say
COLUMNS = ["band", "low", "high", "mechanism", "class", "trials", "best", "trial", "chance", "lead", "lead_low",
           "lead_high", "tied"]  # fmt: skip


def cost_of(run: Run) -> str:
    """The first objective that is a cost."""
    return next(o.name for o in run.campaign.objective_list if o.metric.before_training)


def winners_table(run: Run) -> pd.DataFrame:
    """One row per band of cost and mechanism, the best first.

    best, trial: as found. chance: that the mechanism holds the most accurate network of the band. lead, lead_low,
    lead_high: true best of the first over that of the second, or of another over the first, and the 90 % interval.
    tied: not the first and not beaten.
    """
    cost = cost_of(run)
    trials = [t for t in run.searched() if t.state == "complete" and "accuracy" in t.values and cost in t.values]
    edges = band_edges(trials, cost)
    bands = list(pairwise(edges))
    inside: list[list[Trial]] = [[] for _ in bands]
    for trial in trials if bands else ():
        inside[int(np.searchsorted(edges[1:], trial.values[cost]))].append(trial)
    accuracies = [np.array([t.values["accuracy"] for t in group]) for group in inside]
    rng = np.random.default_rng((run.campaign.seed, DRAWS))
    drawn = true_accuracies(accuracies, validation_size(run), rng) if bands else []
    records = [
        {"band": i, "low": bands[i][0], "high": bands[i][1]} | row
        for i, group in enumerate(inside) for row in _compared(group, drawn[i])
    ]  # fmt: skip
    return pd.DataFrame(records, columns=COLUMNS)


def band_edges(trials: list[Trial], cost: str) -> list[float]:
    """Costs of trials near quantiles of the front and its neighbours, cheapest to dearest; empty for too few trials."""
    bands = min(BANDS, len(trials) // EACH)
    if bands == 0:
        return []
    table = np.array([[-t.values["accuracy"], t.values[cost]] for t in trials])
    near = table[ranks(table) < NEAR, 1]
    inner = np.quantile(near, np.arange(1, bands) / bands, method="higher")
    edges = np.unique([table[:, 1].min(), *inner, table[:, 1].max()])
    return [float(e) for e in (edges if len(edges) > 1 else np.repeat(edges, 2))]  # all of one cost are one band


def _compared(trials: list[Trial], drawn: np.ndarray) -> list[dict[str, Any]]:
    """The mechanisms of one band, the best first. drawn: (draws, trials) true accuracies."""
    found = [t.values["accuracy"] for t in trials]
    names = [main_mechanism(t.genotype) for t in trials]
    kinds = sorted(set(names))
    best = np.column_stack([drawn[:, [n == kind for n in names]].max(axis=1) for kind in kinds])
    chances = np.bincount(best.argmax(axis=1), minlength=len(kinds)) / DRAWS
    order = np.argsort(-best.mean(axis=0), kind="stable")
    records = []
    for i in order:
        own = [j for j, name in enumerate(names) if name == kinds[i]]
        top = max(own, key=lambda j: found[j])
        records.append({
            "mechanism": kinds[i], "class": class_of(kinds[i]), "trials": len(own), "best": found[top],
            "trial": trials[top].number, "chance": float(chances[i]), **_lead(best, order, int(i)),
        })  # fmt: skip
    sure = records[0]["chance"] >= SURE
    return [r | {"tied": place > 0 and not sure and r["chance"] >= 1 - SURE} for place, r in enumerate(records)]


def _lead(best: np.ndarray, order: np.ndarray, i: int) -> dict[str, float]:
    """Of the first mechanism over the second, of another over the first; nothing where there is but one."""
    if len(order) < 2:
        return {}
    rival = order[1] if i == order[0] else order[0]
    low, middle, high = np.quantile(best[:, i] - best[:, rival], [0.05, 0.5, 0.95])
    return {"lead": float(middle), "lead_low": float(low), "lead_high": float(high)}


def true_accuracies(bands: list[np.ndarray], pictures: int, rng: np.random.Generator) -> list[np.ndarray]:
    """(draws, n) for every band: what the accuracies may be, given n that were counted on so many pictures.

    Bands differ in their means and share the spread of true accuracies around them; far-out accuracies set neither.
    """
    near = [a >= -worst_inlier(-a[:, None])[0] for a in bands]
    inside = [a[n] for a, n in zip(bands, near, strict=True)]
    errors = np.concatenate([counting_variance(a, pictures) for a in inside])
    left = len(errors) - len(bands)  # degrees of freedom
    residuals = np.concatenate([a - a.mean() for a in inside])
    spread = float((residuals**2).sum()) / left - float(errors.mean()) if left else 0.0
    spread = max(spread, LEAST * float(errors.mean()))
    return [_drawn(a, n, float(i.mean()), spread, pictures, rng) for a, n, i in zip(bands, near, inside, strict=True)]


def _drawn(
    found: np.ndarray, near: np.ndarray, middle: float, spread: float, pictures: int, rng: np.random.Generator
) -> np.ndarray:
    noise = counting_variance(found, pictures)
    trust = np.where(near, spread / (spread + noise), 1.0)
    deviation = np.sqrt(trust * noise)
    return np.asarray(middle + trust * (found - middle) + deviation * rng.standard_normal((DRAWS, len(found))))


def validation_size(run: Run) -> int:
    return int((run.environment.get("data") or {}).get("validation", VALIDATION))


def winners_words(run: Run, table: pd.DataFrame) -> str:
    """One sentence per band, after how to read the picture."""
    noun = noun_of(cost_of(run))
    words = [_band_words(group, cost_of(run)) for _, group in table.groupby("band")]
    pictures = validation_size(run)
    reading = (
        f"Best accuracy of the networks in which most blocks use a mechanism, in bands of {noun}; beside it the number "
        f"of trials. A solid frame wins its band with at least {percent(SURE)}, dashed frames are ties: accuracies are "
        f"taken with the chance error of {pictures} validation pictures (another training may differ by more), and the "
        "best of many pulled towards the rest of the band."
    )
    return " ".join([reading, *words])


def band_label(cost: str, low: float, high: float, first: bool) -> str:
    """up to 0.31 ms; 0.31 to 0.52 ms."""
    if first:
        return f"up to {number(cost, high)}"
    start, end = number(cost, low), number(cost, high)
    unit = end.rpartition(" ")[2]
    return f"{start.removesuffix(f' {unit}')} to {end}"


def _band_words(group: pd.DataFrame, cost: str) -> str:
    best = group.iloc[0]
    where = band_label(cost, best["low"], best["high"], best["band"] == 0)
    where = where[0].upper() + where[1:]
    if len(group) == 1:
        return f"{where}: only {best['mechanism']} was tried ({_trials(best['trials'])})."
    few = f"; only {_trials(best['trials'])}" if best["trials"] < FEW else ""
    lead = f"{_points(best['lead'])} points ({_points(best['lead_low'])} to {_points(best['lead_high'])}{few})"
    if best["chance"] >= SURE:
        return f"{where}: {best['mechanism']} wins by {lead}."
    tied = list(group.loc[group["tied"].astype(bool), "mechanism"])
    more = f" and {len(tied) - NAMED} more" if len(tied) > NAMED else ""
    beside = f" with {', '.join(tied[:NAMED])}{more}" if tied else ""
    return f"{where}: a tie of {best['mechanism']}{beside}; its lead is {lead}."


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:.1f}".replace("-", "−")


def _trials(n: int) -> str:
    return "1 trial" if n == 1 else f"{n} trials"


def draw_winners(table: pd.DataFrame, cost: str) -> dict[str, Any]:
    """Mechanisms as rows, bands as columns; the colour says how far a cell is below the best of its band."""
    shown = _shown(table)
    best = shown.groupby("band")["best"].transform("max")
    labels = [f"{high:.3g}" for high in shown["high"]]
    text = [f"{100 * b:.1f} % · {n}" for b, n in zip(shown["best"], shown["trials"], strict=True)]
    first = ~shown.duplicated("band")
    close = first | shown["tied"].astype(bool)
    mark = np.select([first & (shown["chance"] >= SURE), close], ["wins", "tied"], "behind")
    shown = shown.assign(column=labels, behind=shown["best"] - best, text=text, mark=mark)
    order = shown.groupby("mechanism")["behind"].max().sort_values(ascending=False, kind="stable").index
    y = alt.Y("mechanism:N", sort=list(order), title=None, axis=alt.Axis(labelColor=INK, grid=False))
    x = alt.X("column:N", sort=list(dict.fromkeys(labels)), title=f"{metric_of(cost).label}, up to",
              axis=alt.Axis(labelAngle=0, grid=False, orient="top", labelLimit=130))  # fmt: skip
    worst = max(-float(worst_inlier(-shown["behind"].to_numpy(float)[:, None])[0]), -1.0)
    scale = alt.Scale(range=["#f5f7fa", "#9ecae1"], domain=[min(worst, -1e-6), 0], clamp=True)
    hover: list[Any] = ["mechanism:N", "column:N", alt.Tooltip("best:Q", format=".1%"), "trials:Q", "trial:Q",
             alt.Tooltip("chance:Q", format=".0%", title="chance to be best")]  # fmt: skip
    base = alt.Chart().encode(x=x, y=y, tooltip=hover)
    cells = base.mark_rect(stroke="white", strokeWidth=2).encode(color=alt.Color("behind:Q", scale=scale, legend=None))
    won = base.transform_filter("datum.mark == 'wins'").mark_rect(filled=False, stroke=INK, strokeWidth=2.5)
    tied = base.transform_filter("datum.mark == 'tied'").mark_rect(
        filled=False, stroke=QUIET, strokeWidth=1.5, strokeDash=[4, 3]
    )
    narrow = min(NARROW, ROOM_BESIDE + ROOM_EACH * shown["band"].nunique())  # no room for text on a phone
    wide = alt.ExprRef(expr=f"0 * width + containerSize()[0] < {narrow} ? 0 : 1")
    words = base.mark_text(fontSize=12, color=INK, opacity=wide).encode(text="text:N")
    layers = alt.layer(cells, tied, won, words, data=rows(shown))
    return finish(layers, height=max(100, 26 * shown["mechanism"].nunique()))


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """The mechanisms that come nearest to the best of some band."""
    behind = table["best"] - table.groupby("band")["best"].transform("max")
    nearest = behind.groupby(table["mechanism"]).max().sort_values(ascending=False, kind="stable")
    return table[table["mechanism"].isin(nearest.index[:SHOWN])].reset_index(drop=True)
