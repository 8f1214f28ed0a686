"""What the sampler expected of each trial when it proposed it, beside the accuracy that was found."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from scipy.stats import beta, norm, spearmanr

from nas.reporting.theme import ACCENT, QUIET, finish, number, percent, rows, scale_of
from nas.run import Run

ENOUGH = 8  # trials before anything is said of the sampler
SHARE = 0.9  # of the intervals, and confidence of what is said of them
Z = float(norm.ppf((1 + SHARE) / 2))
COLUMNS = ["trial", "expected", "deviation", "expected_low", "expected_high", "observed", "counted", "inside"]


def calibration_table(run: Run) -> pd.DataFrame:
    """One row for each complete trial with an expectation; its 90 % interval holds the noise of a training.

    counted: the observed accuracy, or the lowest that the sampler told apart then.
    """
    records = []
    for t in run.complete():
        if "accuracy" in t.expected:
            e, found = t.expected["accuracy"], t.values["accuracy"]
            low, high, counted = e.mean - Z * e.deviation, e.mean + Z * e.deviation, max(found, e.floor)
            records.append((t.number, e.mean, e.deviation, low, high, found, counted, low <= counted <= high))
    return pd.DataFrame(records, columns=COLUMNS)


def absent_words(run: Run, table: pd.DataFrame) -> str:
    """Why nothing is drawn."""
    if len(table):
        return f"The sampler's expectations are checked from {ENOUGH} trials on; so far {len(table)} had one."
    early = len(run.complete()) <= run.campaign.sampler.startup
    when = " before its warm start has ended" if early and run.campaign.sampler.name == "pareto" else ""
    return f"The record holds no expectation of a trial: the sampler {run.campaign.sampler.name} has none{when}."


def share_interval(found: int, of: int) -> tuple[float, float]:
    """Exact 90 % interval of a share (Clopper and Pearson, Biometrika 26, 1934)."""
    tail = (1 - SHARE) / 2
    low = 0.0 if found == 0 else float(beta.ppf(tail, found, of - found + 1))
    high = 1.0 if found == of else float(beta.ppf(1 - tail, found + 1, of - found))
    return low, high


def rank_correlation(table: pd.DataFrame) -> tuple[float, float, float] | None:
    """Spearman's and its 90 % interval (Bonett and Wright, Psychometrika 65, 2000); None where a side is constant."""
    if table["expected"].nunique() < 2 or table["counted"].nunique() < 2:
        return None
    rho = float(spearmanr(table["expected"], table["counted"]).statistic)
    half = Z * np.sqrt((1 + rho**2 / 2) / (len(table) - 3))
    middle = np.arctanh(np.clip(rho, -0.9999, 0.9999))
    return rho, float(np.tanh(middle - half)), float(np.tanh(middle + half))


def calibration_words(run: Run, table: pd.DataFrame) -> str:
    """How far the sampler's expectations could be relied on: intervals, order, bias."""
    poor = int((table["observed"] < table["counted"]).sum())
    low = f"Triangles: {poor} that did worse than the sampler cares to tell apart count as that low." if poor else ""
    cut = sum(t.state in ("paused", "stopped") for t in run.searched())
    rest = f"The {cut} trials that were cut short are left out, and those were expected to do worse." if cut else ""
    begun = "What the sampler expected of each network before it was trained, against the accuracy found."
    return " ".join(filter(None, [begun, _interval_words(table), _order_words(table), _bias_words(table), low, rest]))


def _interval_words(table: pd.DataFrame) -> str:
    n, inside = len(table), int(table["inside"].sum())
    low, high = share_interval(inside, n)
    verdict = "too narrow" if high < SHARE else "wider than need be" if low > SHARE else "consistent with 90 %"
    return (
        f"Its 90 % intervals (the bars) held {inside} of {n} ({percent(inside / n)}; by so many trials the true share "
        f"is {percent(low)} to {percent(high)}): {verdict}."
    )


def _order_words(table: pd.DataFrame) -> str:
    found = rank_correlation(table)
    if found is None:
        return ""
    rho, low, high = found
    sense = "it could order them" if low > 0 else "whether it could order them at all cannot be told"
    return f"Rank correlation {rho:.2f} (90 %: {low:.2f} to {high:.2f}): {sense}."


def _bias_words(table: pd.DataFrame) -> str:
    """The mean error with its 90 % interval, in percentage points."""
    errors = 100 * (table["expected"] - table["counted"])
    half = Z * float(errors.std(ddof=1)) / np.sqrt(len(errors))
    mean = float(errors.mean())
    side = "too high" if mean > 0 else "too low"
    sure = "" if abs(mean) > half else ", which may be chance"
    return f"On average it was {abs(mean):.1f} ± {half:.1f} percentage points {side}{sure}."


def draw_calibration(table: pd.DataFrame) -> dict[str, Any]:
    """Expected over observed with intervals and the line of equality; a triangle for what was worse than it counts."""
    ends = ["expected", "expected_low", "expected_high"]
    shown = table.assign(
        **table[ends].clip(upper=1.0),  # a normal variable does not know that no accuracy is above 1
        edge=np.where(table["observed"] < table["counted"], "triangle-left", "circle"),
        text=[f"{number('accuracy', e)} expected, {number('accuracy', o)} found" for e, o in _pairs(table)],
    )  # fmt: skip
    across = scale_of(shown["counted"], "accuracy")
    up = scale_of(pd.concat([shown["counted"], *(shown[end] for end in ends)]), "accuracy")
    axis = alt.Axis(format="~%", tickCount=6)
    x, low = alt.X("counted:Q", scale=across, title="Accuracy found", axis=axis), _up("expected_low", up)
    base = alt.Chart(rows(shown)).encode(x=x)
    corners = pd.DataFrame({"counted": across.to_dict()["domain"]})
    layers = [
        alt.Chart(rows(corners)).mark_line(color=QUIET, strokeWidth=1, clip=True).encode(x=x, y=_up("counted", up)),
        base.mark_rule(color=QUIET, clip=True).encode(y=low, y2="expected_high:Q"),
        base.mark_point(filled=True, size=70, opacity=0.9, color=ACCENT).encode(
            y=_up("expected", up), shape=alt.Shape("edge:N", scale=None), tooltip=["trial:Q", "text:N"]
        ),
    ]
    return finish(alt.layer(*layers), height=340)


def _up(column: str, scale: alt.Scale) -> alt.Y:
    axis = alt.Axis(format="~%", tickCount=6)
    return alt.Y(f"{column}:Q", scale=scale, title="Accuracy expected", axis=axis)


def _pairs(table: pd.DataFrame) -> list[tuple[float, float]]:
    return list(zip(table["expected"], table["observed"], strict=True))
