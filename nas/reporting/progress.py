"""How the search went on: hypervolume over trials and over time, and the learning curves."""

from typing import Any

import altair as alt
import pandas as pd

from nas.objective import losses
from nas.pareto import hypervolume_history, reference_point
from nas.reporting.classes import colours_of, main_class
from nas.reporting.extent import accuracy_floor
from nas.reporting.theme import ACCENT, finish, legend, noun_of, number, rows, scale_of
from nas.run import Run
from nas.trial import Trial

FEW_EPOCHS = 8  # so many have a tick each


def hypervolume_table(run: Run) -> pd.DataFrame:
    """After each finished search trial: how many have finished, minutes at work, hypervolume. Empty before two results.

    A trial without a result counts as finished and adds nothing; the reference point belongs to all results together.
    """
    ended = sorted((t for t in run.searched() if t.finished is not None), key=_end)
    measured = {t.number for t in run.complete()}
    found = [t for t in ended if t.number in measured]
    table = pd.DataFrame(columns=["trials", "minutes", "hypervolume"], dtype=float)
    if len(found) < 2:
        return table
    values = losses([t.values for t in found], run.campaign.objective_list)
    history = dict(zip([t.number for t in found], hypervolume_history(values, reference_point(values)), strict=True))
    spans = [(t.started, _end(t)) for t in run.trials if t.finished is not None]
    volume, records = 0.0, [(0.0, 0.0, 0.0)]
    for count, trial in enumerate(ended, start=1):
        volume = float(history.get(trial.number, volume))
        records.append((float(count), busy_seconds(spans, _end(trial)) / 60, volume))
    return pd.DataFrame(records, columns=table.columns)


def busy_seconds(spans: list[tuple[float, float]], until: float) -> float:
    """Length of the union of the (start, end) spans before `until`: the time in which at least one trial ran."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        start, end = max(start, reached), min(end, until)
        total += max(0.0, end - start)
        reached = max(reached, end)
    return total


def reference_words(run: Run) -> str:
    """The reference point of the hypervolume in words, such as "accuracy 12.0 %, latency 3.10 ms"."""
    objectives = run.campaign.objective_list
    point = reference_point(losses([t.values for t in run.complete()], objectives))
    values = [o.sign * float(p) for o, p in zip(objectives, point, strict=True)]
    return ", ".join(f"{noun_of(o.name)} {number(o.name, v)}" for o, v in zip(objectives, values, strict=True))


def draw_hypervolume(table: pd.DataFrame, over: str) -> dict[str, Any]:
    """A staircase from zero, over "trials" or over "minutes"."""
    title = {"trials": "Search trials finished", "minutes": "Minutes at work"}[over]
    axis = alt.Axis(tickMinStep=1 if over == "trials" else 0, tickCount=8, grid=False)
    x = alt.X(f"{over}:Q", title=title, scale=alt.Scale(domainMin=0, nice=False), axis=axis)
    y = alt.Y("hypervolume:Q", title="Hypervolume", scale=alt.Scale(domainMin=0), axis=alt.Axis(tickCount=5))
    hover = [
        alt.Tooltip("trials:Q"),
        alt.Tooltip("minutes:Q", format=".1f"),
        alt.Tooltip("hypervolume:Q", format=".4g"),
    ]
    base = alt.Chart().encode(x=x, y=y)
    area = base.mark_area(interpolate="step-after", color=ACCENT, opacity=0.12)
    line = base.mark_line(interpolate="step-after", color=ACCENT, strokeWidth=2)
    dots = base.mark_point(filled=True, size=120, opacity=0, color=ACCENT).encode(tooltip=hover)
    return finish(alt.layer(area, line, dots, data=rows(table)), height=240)


def curves_table(run: Run) -> pd.DataFrame:
    """One row per trial and epoch, references included. role: front, other or reference."""
    front = {t.number for t in run.front()}
    records = [
        {
            "trial": t.number, "name": t.name, "class": main_class(t.genotype), "epoch": p.epoch,
            "accuracy": p.accuracy, "loss": p.loss, "seconds": p.seconds,
            "role": "reference" if t.kind == "reference" else "front" if t.number in front else "other",
        }
        for t in run.trials for p in t.curve
    ]  # fmt: skip
    return pd.DataFrame(records, columns=["trial", "name", "class", "epoch", "accuracy", "loss", "seconds", "role"])


def curves_floor(table: pd.DataFrame) -> float:
    """Where the axis of the learning curves begins: past the first steep epochs and below the ends that matter.

    After a tenth of the epochs, the 5th percentile of the accuracies or the worst that is not far out, if that is more;
    but never above the end of a front member or a reference.
    """
    settled = table.loc[table["epoch"] > table["epoch"].max() / 10, "accuracy"]
    ends = _ends(table[table["role"] != "other"])
    return float(min([max(settled.quantile(0.05), accuracy_floor(settled)), *ends]))


def curves_below(table: pd.DataFrame) -> int:
    """How many curves end below the axis."""
    return int((_ends(table) < curves_floor(table)).sum())


def cut_below(table: pd.DataFrame, bottom: float) -> pd.DataFrame:
    """Curves without what lies below `bottom`, cut where they cross it; a missing accuracy breaks the line.

    A clip path would do the same, but pictures of it take seconds: Vega writes one for every curve.
    """
    records: list[dict[Any, Any]] = []
    for _, curve in table.groupby("trial", sort=False):
        epochs = curve.sort_values("epoch").to_dict("records")
        for last, here in zip([None, *epochs], epochs, strict=False):
            if last and (last["accuracy"] < bottom) != (here["accuracy"] < bottom):
                share = (bottom - last["accuracy"]) / (here["accuracy"] - last["accuracy"])
                crossing = last["epoch"] + share * (here["epoch"] - last["epoch"])
                records.append(here | {"epoch": round(crossing, 3), "accuracy": bottom})
            records.append(here | {"accuracy": round(here["accuracy"], 4) if here["accuracy"] >= bottom else None})
    return pd.DataFrame(records, columns=table.columns)


def _ends(table: pd.DataFrame) -> pd.Series:
    """Trial -> accuracy after its last epoch."""
    return table.sort_values("epoch").groupby("trial")["accuracy"].last()


def draw_curves(table: pd.DataFrame) -> dict[str, Any]:
    """Accuracy over epochs: members of the front in the colour of their class, references dashed, the rest grey."""
    domain, colours = colours_of(set(table.loc[table["role"] != "other", "class"]))
    single = int(table["epoch"].nunique()) == 1
    scale = scale_of(pd.Series([curves_floor(table), table["accuracy"].max()]), "accuracy")
    hover = [alt.Tooltip("name:N"), alt.Tooltip("epoch:Q"), alt.Tooltip("accuracy:Q", format=".1%")]
    base = alt.Chart().encode(
        x=alt.X("epoch:Q", title="Epoch", scale=alt.Scale(nice=False, zero=False), axis=_epoch_axis(table)),
        y=alt.Y("accuracy:Q", title="Validation accuracy", scale=scale, axis=alt.Axis(format="~%", tickCount=6)),
        detail="trial:N",
        tooltip=hover,
    )
    key = legend(6) if domain else None  # an empty legend has no size, and the picture none either
    colour = alt.Color("class:N", scale=alt.Scale(domain=domain, range=colours), legend=key)
    layers = [
        base.transform_filter(alt.datum.role == "other").mark_line(color="#d3dae1", strokeWidth=1, point=single),
        base.transform_filter(alt.datum.role == "reference")
        .mark_line(strokeWidth=1.4, strokeDash=[5, 3], point=single)
        .encode(color=colour),
        base.transform_filter(alt.datum.role == "front").mark_line(strokeWidth=2.8, point=single).encode(color=colour),
    ]
    drawn = cut_below(table.drop(columns=["loss", "seconds"]), scale.to_dict()["domain"][0])
    return finish(alt.layer(*layers, data=rows(drawn)), height=360)


def _epoch_axis(table: pd.DataFrame) -> alt.Axis:
    """Whole epochs, also where there are few."""
    few = list(range(int(table["epoch"].min()), int(table["epoch"].max()) + 1))
    return alt.Axis(grid=False, format="d", **({"values": few} if len(few) <= FEW_EPOCHS else {"tickMinStep": 1}))


def _end(trial: Trial) -> float:
    return trial.started if trial.finished is None else trial.finished
