"""Accuracy by mechanism, and by mechanism and stage: what the trials that use something reached."""

from typing import Any

import altair as alt
import pandas as pd

from nas.reporting.classes import block_shares, class_of, colours_of
from nas.reporting.theme import INK, finish, legend, rows
from nas.run import Run


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
    """One dot per trial that uses the mechanism anywhere, a bar at the median."""
    once = uses.drop_duplicates(["trial", "mechanism"])
    order = list(mechanism_table(uses)["mechanism"])
    counts = once["mechanism"].value_counts()
    labelled = once.assign(row=[f"{m} ({counts[m]})" for m in once["mechanism"]])
    domain, colours = colours_of(set(once["class"]))
    y = alt.Y(
        "row:N", sort=[f"{m} ({counts[m]})" for m in order], title=None, axis=alt.Axis(labelColor=INK, labelLimit=190)
    )
    x = alt.X(
        "accuracy:Q", title="Validation accuracy", scale=alt.Scale(zero=False), axis=alt.Axis(format=".0%", tickCount=5)
    )
    hover = [alt.Tooltip("name:N"), alt.Tooltip("mechanism:N"), alt.Tooltip("accuracy:Q", format=".1%")]
    dots = alt.Chart().mark_circle(size=48, opacity=0.5).encode(
        x=x, y=y, tooltip=hover,
        color=alt.Color("class:N", scale=alt.Scale(domain=domain, range=colours), legend=legend(6)),
    )  # fmt: skip
    middle = alt.Chart().mark_tick(color=INK, thickness=2.5, size=16).encode(x="median(accuracy):Q", y=y)
    return finish(alt.layer(dots, middle, data=rows(labelled)), height=max(120, 26 * len(order)))


def draw_stages(uses: pd.DataFrame) -> dict[str, Any]:
    """Median accuracy in colour, the number of trials in each cell."""
    table = stage_table(uses)
    order = list(mechanism_table(uses)["mechanism"])
    y = alt.Y("mechanism:N", sort=order, title=None, axis=alt.Axis(labelColor=INK, grid=False))
    x = alt.X("stage:O", title="Stage", axis=alt.Axis(labelAngle=0, grid=False, orient="top"))
    hover = ["mechanism:N", "stage:O", alt.Tooltip("median:Q", format=".1%"), alt.Tooltip("trials:Q")]
    low, high = float(table["median"].min()), float(table["median"].max())
    scale = alt.Scale(scheme="viridis", domain=[low, high])
    colour = alt.Color(
        "median:Q", scale=scale, title="Median accuracy", legend=alt.Legend(orient="bottom", format=".0%")
    )
    cells = alt.Chart().mark_rect(stroke="white", strokeWidth=2).encode(x=x, y=y, color=colour, tooltip=hover)
    light = alt.condition(f"datum.median < {(low + high) / 2}", alt.value("white"), alt.value(INK))
    text = alt.Chart().mark_text(fontSize=12).encode(x=x, y=y, text="label:N", color=light)
    table["label"] = [f"{100 * m:.0f} % · {n}" for m, n in zip(table["median"], table["trials"], strict=True)]
    return finish(alt.layer(cells, text, data=rows(table)), height=max(100, 28 * len(order)))
