"""Accuracy by mechanism, and by mechanism and stage: what the trials that use something reached."""

from typing import Any

import altair as alt
import pandas as pd

from nas.reporting.classes import block_shares, class_of, colours_of
from nas.reporting.extent import accuracy_floor
from nas.reporting.theme import INK, finish, legend, rows, scale_of
from nas.run import Run

EQUAL_CONTRAST = 0.44  # where white and black are equally readable on viridis: a relative luminance of 0.18

SPREAD = 14.0  # pixels that dots of equal accuracy take in a row


def uses_table(run: Run) -> pd.DataFrame:
    """One row per search trial with an accuracy, stage and mechanism that the stage uses."""
    records = [
        {
            "trial": t.number, "name": t.name, "stage": i, "mechanism": kind, "class": class_of(kind),
            "accuracy": t.values["accuracy"],
        }
        for t in run.searched() if "accuracy" in t.values
        for i, stage in enumerate(t.genotype.stages, start=1)
        for kind in block_shares(stage)
    ]  # fmt: skip
    return pd.DataFrame(records, columns=["trial", "name", "stage", "mechanism", "class", "accuracy"])


def mechanism_table(uses: pd.DataFrame) -> pd.DataFrame:
    """Per mechanism: trials that use it anywhere, median and best accuracy; best median first."""
    once = uses.drop_duplicates(["trial", "mechanism"])
    grouped = once.groupby(["mechanism", "class"])["accuracy"].agg(trials="count", median="median", best="max")
    return grouped.reset_index().sort_values(["median", "mechanism"], ascending=[False, True], ignore_index=True)


def stage_table(uses: pd.DataFrame) -> pd.DataFrame:
    """Per mechanism and stage: trials that use it there and their median accuracy."""
    grouped = uses.groupby(["mechanism", "stage"])["accuracy"].agg(trials="count", median="median")
    return grouped.reset_index()


def draw_mechanisms(uses: pd.DataFrame) -> dict[str, Any]:
    """One dot per trial that uses the mechanism anywhere, a bar at the median; far-out ones at the edge."""
    once, scale = _within(uses.drop_duplicates(["trial", "mechanism"]))
    ranked = mechanism_table(uses)
    words = dict(zip(ranked["mechanism"], ranked["mechanism"] + " (" + ranked["trials"].astype(str) + ")", strict=True))
    labelled = once.assign(row=once["mechanism"].map(words))
    domain, colours = colours_of(set(once["class"]))
    y = alt.Y("row:N", sort=list(words.values()), title=None, axis=alt.Axis(labelColor=INK, labelLimit=190))
    x = alt.X("at:Q", title="Validation accuracy", scale=scale, axis=alt.Axis(format="~%", tickCount=6))
    hover = [alt.Tooltip("name:N"), alt.Tooltip("mechanism:N"), alt.Tooltip("accuracy:Q", format=".1%")]
    colour = alt.Color("class:N", scale=alt.Scale(domain=domain, range=colours), legend=legend(6, 1))
    dots = alt.Chart().mark_point(
        filled=True, size=44, fillOpacity=0.6, opacity=1, yOffset=alt.ExprRef(expr="datum.offset")
    ).encode(x=x, y=y, tooltip=hover, color=colour, shape=alt.Shape("mark:N", scale=None))  # fmt: skip
    bars = ranked.assign(row=ranked["mechanism"].map(words), at=ranked["median"].clip(lower=once["at"].min()))
    middle = alt.Chart(rows(bars)).mark_tick(color=INK, thickness=2.5, size=18).encode(x="at:Q", y=y)
    return finish(alt.layer(dots, middle, data=rows(labelled)), height=max(120, 26 * len(words)))


def _within(once: pd.DataFrame) -> tuple[pd.DataFrame, alt.Scale]:
    """Adds `at`, `offset` and `mark`: where each dot stands and its shape, on an axis of the trials not far out."""
    floor = accuracy_floor(once.drop_duplicates("trial")["accuracy"])
    far = once["accuracy"] < floor
    scale = scale_of(once.loc[~far, "accuracy"], "accuracy")
    low, high = scale.to_dict()["domain"]
    placed = once.assign(at=once["accuracy"].mask(far, low + 0.006 * (high - low)))
    equals = placed.groupby(["mechanism", "at"])["trial"]
    rank, last = equals.cumcount(), equals.transform("count") - 1
    spacing = (SPREAD / last.clip(lower=1)).clip(upper=3.0)
    offset = (rank - last / 2) * spacing  # equal accuracies side by side, as far as the row is high
    return placed.assign(offset=offset, mark=far.map({True: "triangle-left", False: "circle"})), scale


def draw_stages(uses: pd.DataFrame) -> dict[str, Any]:
    """Median accuracy in colour, the number of trials in each cell; the colours stop at the trials that are far out."""
    table = stage_table(uses)
    y = alt.Y(
        "mechanism:N",
        sort=list(mechanism_table(uses)["mechanism"]),
        title=None,
        axis=alt.Axis(labelColor=INK, grid=False),
    )
    x = alt.X("stage:O", title="Stage", axis=alt.Axis(labelAngle=0, grid=False, orient="top"))
    hover = ["mechanism:N", "stage:O", alt.Tooltip("median:Q", format=".1%"), alt.Tooltip("trials:Q")]
    high = float(table["median"].max())
    low = min(high, max(float(table["median"].min()), accuracy_floor(uses.drop_duplicates("trial")["accuracy"])))
    scale = alt.Scale(scheme="viridis", domain=[low, high], clamp=True)
    key = alt.Legend(orient="bottom", format="~%", tickCount=4)
    colour = alt.Color("median:Q", scale=scale, title="Median accuracy", legend=key)
    cells = alt.Chart().mark_rect(stroke="white", strokeWidth=2).encode(x=x, y=y, color=colour, tooltip=hover)
    dark = alt.condition(
        f"datum.median < {low + EQUAL_CONTRAST * (high - low)}", alt.value("white"), alt.value("black")
    )
    text = alt.Chart().mark_text(fontSize=12).encode(x=x, y=y, text="label:N", color=dark)
    digits = 1 if high - low < 0.1 else 0
    table["label"] = [f"{100 * m:.{digits}f} % · {n}" for m, n in zip(table["median"], table["trials"], strict=True)]
    return finish(alt.layer(cells, text, data=rows(table)), height=max(100, 28 * table["mechanism"].nunique()))
