"""Costs that a profile predicted before a trial, beside what was measured in the end."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from nas.objective import METRICS, metric_of
from nas.reporting.theme import ACCENT, QUIET, finish, is_wide, number, rows
from nas.run import Run

NEAR = 0.1  # the share of the prediction within which a measurement counts as close


def predictions_table(run: Run, name: str) -> pd.DataFrame:
    """One row for each trial whose cost was predicted and then measured; ratio: measured over predicted."""
    found = [t for t in run.trials if name in t.predicted and name in t.measured_again]
    records = [
        {
            "trial": t.number, "name": t.name, "predicted": t.predicted[name][0], "predicted_low": t.predicted[name][1],
            "predicted_high": t.predicted[name][2], "measured": t.values[name], "measured_low": t.intervals[name][0],
            "measured_high": t.intervals[name][1], "ratio": t.values[name] / t.predicted[name][0],
        }
        for t in found
    ]  # fmt: skip
    ends = [f"{what}{end}" for what in ("predicted", "measured") for end in ("", "_low", "_high")]
    return pd.DataFrame(records, columns=["trial", "name", *ends, "ratio"])


def predicted_names(run: Run) -> list[str]:
    """The costs that can be compared."""
    seen = {name for t in run.trials for name in t.predicted if name in t.measured_again}
    return [name for name in METRICS if name in seen]


def predictions_words(table: pd.DataFrame) -> str:
    """How good the predictions were."""
    n = len(table)
    near = int((np.abs(table["ratio"] - 1) <= NEAR).sum())
    inside = int(table["measured"].between(table["predicted_low"], table["predicted_high"]).sum())
    error = 100 * float(np.sqrt(np.mean((1 / table["ratio"] - 1) ** 2)))
    return (
        "Networks that were measured in the end, against what the profile had said before they were trained. "
        f"{near} of {n} lie within ±10 % (the band), {inside} of {n} inside the predicted 90 % interval (the bars); "
        f"root mean square error {error:.1f} %."
    )


def draw_predictions(table: pd.DataFrame, name: str) -> dict[str, Any]:
    """Predicted over measured, with the line of equality and a band of ±10 %."""
    ends = table[["predicted_low", "predicted_high", "measured"]].to_numpy(float)
    low, high = float(ends.min()), float(ends.max())
    pad = 1.1 if is_wide(low, high) else 1 + 0.08 * (high - low) / high
    scale = alt.Scale(
        type="log" if is_wide(low, high) else "linear", domain=[low / pad, high * pad], nice=False, zero=False
    )
    line = pd.DataFrame({"x": np.linspace(low / pad, high * pad, 40)})
    line = line.assign(below=(1 - NEAR) * line["x"], above=(1 + NEAR) * line["x"])
    label = metric_of(name).label
    x, y = alt.X("x:Q", scale=scale, title=f"{label}, measured"), alt.Y("x:Q", scale=scale, title=f"{label}, predicted")
    band = alt.Chart(rows(line)).mark_area(color=QUIET, opacity=0.15, clip=True)
    shown = table.assign(text=[f"{number(name, p)} predicted, {number(name, m)} measured" for p, m in _pairs(table)])
    points = alt.Chart(rows(shown)).encode(x=alt.X("measured:Q", scale=scale))
    layers = [
        band.encode(x=x, y=alt.Y("below:Q", scale=scale, title=f"{label}, predicted"), y2="above:Q"),
        alt.Chart(rows(line)).mark_line(color=QUIET, strokeWidth=1, clip=True).encode(x=x, y=y),
        points.mark_rule(color=QUIET).encode(y=alt.Y("predicted_low:Q", scale=scale), y2="predicted_high:Q"),
        points.mark_point(filled=True, size=70, opacity=0.9, color=ACCENT).encode(
            y=alt.Y("predicted:Q", scale=scale), tooltip=[alt.Tooltip("name:N", title="Trial"), "text:N"]
        ),
    ]
    return finish(alt.layer(*layers), height=340)


def _pairs(table: pd.DataFrame) -> list[tuple[float, float]]:
    return list(zip(table["predicted"], table["measured"], strict=True))
