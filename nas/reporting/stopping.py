"""Whether to go on: what the last trials added to the hypervolume, and what further ones are likely to add."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from nas.reporting.growth import ENOUGH, Growth
from nas.reporting.progress import hypervolume_table
from nas.reporting.theme import ACCENT, INK, duration, finish, percent, rows
from nas.run import Run

WINDOW = 1.5  # factor of trials that is looked back and ahead
WORTH = 0.01  # of the hypervolume: a gain that may matter
UNLIKELY, LIKELY = 0.2, 0.6  # chances of such a gain below which to stop, above which to go on
POINTS = 12  # of the forecast that are drawn
UNITS = {60.0: "an hour", 1.0: "a minute"}  # minutes -> words; the first in which no more than the trials so far fit
COLUMNS = ["span", "trials", "minutes", "gain", "low", "high", "chance"]


def stopping_table(run: Run) -> pd.DataFrame:
    """Gains as shares of the hypervolume now, with the ends of their 90 % intervals where they are forecasts.

    span: past (the last third of the trials), rate (expected of an hour or a minute at the present pace), hour and half
    (of the trials so far) ahead. chance: that the gain is worth having. Empty where nothing can be forecast.
    """
    history = hypervolume_table(run)
    growth = Growth.fit(history["hypervolume"].to_numpy(float)[1:])
    if growth is None or _exhausted(run):
        return pd.DataFrame(columns=COLUMNS)
    past = _past(history)
    pace = past["minutes"] / past["trials"]  # minutes a trial
    more = {"half": round((WINDOW - 1) * growth.trials)}
    if pace > 0 and 1 <= 60 / pace <= growth.trials:  # beyond twice the trials nothing is said
        more = {"hour": round(60 / pace)} | more
    unit = next((m for m in UNITS if 0 < m / pace <= growth.trials), None) if pace > 0 else None
    rate = [_rate(growth, pace, unit)] if unit else []
    ahead = [_ahead(growth, span, trials, trials * pace) for span, trials in more.items()]
    return pd.DataFrame([past, *rate, *ahead], columns=COLUMNS)


def _past(history: pd.DataFrame) -> dict[str, Any]:
    trials = len(history) - 1
    first, last = history.iloc[round(trials / WINDOW)], history.iloc[-1]
    gain = 1 - first["hypervolume"] / last["hypervolume"]
    return {"span": "past", "trials": int(last["trials"] - first["trials"]), "gain": gain,
            "minutes": last["minutes"] - first["minutes"]}  # fmt: skip


def _rate(growth: Growth, pace: float, minutes: float) -> dict[str, Any]:
    gain, low, high = (minutes / pace * growth.rate(share) for share in (0.5, 0.05, 0.95))
    return {"span": "rate", "trials": minutes / pace, "minutes": minutes, "gain": gain, "low": low, "high": high}


def _ahead(growth: Growth, span: str, trials: int, minutes: float) -> dict[str, Any]:
    gain, low, high = (growth.quantile(trials, share) for share in (0.5, 0.05, 0.95))
    size = {"span": span, "trials": trials, "minutes": minutes}
    return size | {"gain": gain, "low": low, "high": high, "chance": growth.chance(trials, WORTH)}


def stopping_words(run: Run, table: pd.DataFrame) -> str:
    """What was added, what is expected, and what follows from that."""
    if _exhausted(run):
        return "The space holds no further network that could be found, so that more trials add nothing."
    if table.empty:
        return f"What further trials would add is forecast from {ENOUGH} ended trials on that left a hypervolume."
    spans = {row["span"]: row for row in table.to_dict("records")}
    past, half = spans["past"], spans["half"]
    words = [f"The last {past['trials']:.0f} trials added {share_words(past['gain'])} to the hypervolume"]
    if "rate" in spans:
        rate = spans["rate"]
        unit = UNITS[rate["minutes"]]
        words.append(f"; at the present pace the gain is about {share_words(rate['gain'])} {unit} ({_range(rate)})")
    words.append(f". Another {half['trials']:.0f} trials, {duration(60 * half['minutes'])}, add {_range(half)} by ")
    words.append(f"forecast, {share_words(half['gain'])} in the middle; ")
    if "hour" in spans:
        words.append(f"another hour adds {_range(spans['hour'])}; ")
    worth = f"the chance of more than {share_words(WORTH)} is {percent(half['chance'])}"
    return "".join([*words, worth, ". ", advice(half["chance"]), " Ranges hold 90 %."])


def advice(chance: float) -> str:
    """chance: of a gain that is worth having."""
    if chance < UNLIKELY:
        return f"Stop, unless less than {share_words(WORTH)} matters."
    if chance > LIKELY:
        return "Go on, if that is worth the time."
    return "Whether to go on is open: it depends on what the time costs."


def share_words(share: float) -> str:
    """0.3 %, 12 %; below 0.1 % where it is."""
    if 0 < share < 0.001:
        return "below 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.1 and share != WORTH else f"{100 * share:.0f} %"


def _range(row: dict[Any, Any]) -> str:
    low, high = share_words(row["low"]), share_words(row["high"])
    return f"{low.removesuffix(' %') if row['low'] >= 0.001 else '0'} to {high}"


def _exhausted(run: Run) -> bool:
    return any(note.endswith("the space is exhausted") for note in run.notes)


def draw_stopping(run: Run) -> dict[str, Any]:
    """The hypervolume of the last half as a share of what it is now, and the forecast as a fan."""
    history = hypervolume_table(run)
    growth = Growth.fit(history["hypervolume"].to_numpy(float)[1:])
    assert growth is not None
    past = history.iloc[growth.trials // 2 :].assign(share=lambda t: t["hypervolume"] / history["hypervolume"].iloc[-1])
    fan = fan_table(growth)
    bottom, top = float(past["share"].min()), float(fan["high"].max())
    pad = 0.05 * (top - bottom)
    scale = alt.Scale(domain=[max(0.0, bottom - pad), top + pad], nice=False, zero=False)
    y = alt.Y("share:Q", title="Hypervolume, now = 100 %", scale=scale, axis=alt.Axis(format="~%", tickCount=5))
    x = alt.X("trials:Q", title="Search trials finished", axis=alt.Axis(tickMinStep=1, grid=False),
              scale=alt.Scale(zero=False, nice=False))  # fmt: skip
    hover = [
        alt.Tooltip("trials:Q", format=".0f"),
        *(alt.Tooltip(f"{c}:Q", format=".1%") for c in ("low", "share", "high")),
    ]
    line = alt.Chart(rows(past)).mark_line(interpolate="step-after", color=ACCENT, strokeWidth=2).encode(x=x, y=y)
    base = alt.Chart(rows(fan))
    band = base.mark_area(color=ACCENT, opacity=0.15).encode(
        x=x, y=alt.Y("low:Q", title=None), y2="high:Q", tooltip=hover
    )
    middle = base.mark_line(color=INK, strokeDash=[5, 3], strokeWidth=1.5).encode(x=x, y=y, tooltip=hover)
    return finish(alt.layer(band, line, middle), height=240)


def fan_table(growth: Growth) -> pd.DataFrame:
    """trials, and the ends and the middle of the hypervolume that is forecast there, as shares of what it is now."""
    ahead = np.linspace(0, (WINDOW - 1) * growth.trials, POINTS)[1:]
    records = [
        (growth.trials + more, *(1 + growth.quantile(more, share) for share in (0.05, 0.5, 0.95))) for more in ahead
    ]
    return pd.DataFrame([(growth.trials, 1.0, 1.0, 1.0), *records], columns=["trials", "low", "share", "high"])
