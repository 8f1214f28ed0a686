"""What a campaign cost: wall time, worker time by phase, and how its trials ended."""

from typing import Any

import altair as alt
import pandas as pd

from nas.reporting.tables import PHASES
from nas.reporting.theme import duration, finish, legend, rows
from nas.run import Run
from nas.trial import STATES

PHASE_COLOURS = {"train": "#0072B2", "measure": "#009E73", "wait": "#E69F00", "setup": "#8a94a0"}


def phases_table(run: Run) -> pd.DataFrame:
    """Worker seconds by phase over all trials, references included, and their share of the whole."""
    seconds = {p: sum(t.seconds.get(p, 0.0) for t in run.trials) for p in PHASES}
    total = sum(seconds.values())
    records = [{"phase": p, "seconds": s, "share": s / total if total else 0.0} for p, s in seconds.items()]
    return pd.DataFrame(records, columns=["phase", "seconds", "share"])


def states_table(run: Run) -> pd.DataFrame:
    """How many search trials and references stand in each state."""
    records = [
        {
            "state": s,
            "search": sum(t.state == s for t in run.searched()),
            "references": sum(t.state == s for t in run.references()),
        }
        for s in STATES
    ]
    table = pd.DataFrame(records, columns=["state", "search", "references"])
    return table[table["search"] + table["references"] > 0].reset_index(drop=True)


def draw_phases(table: pd.DataFrame) -> dict[str, Any]:
    """One bar of worker time, cut by phase."""
    kept = table[table["seconds"] > 0]
    words = [f"{p} {duration(s)} ({100 * share:.0f} %)" for p, s, share in kept.itertuples(index=False)]
    shown = kept.assign(words=words, order=range(len(kept)), minutes=kept["seconds"] / 60)
    colours = [PHASE_COLOURS[p] for p in kept["phase"]]
    axis = alt.Axis(grid=False, tickCount=5)
    bar = alt.Chart(rows(shown)).mark_bar(height=30).encode(
        x=alt.X("minutes:Q", title="Worker minutes", scale=alt.Scale(nice=False), axis=axis),
        color=alt.Color("words:N", scale=alt.Scale(domain=words, range=colours), legend=legend(4, 1)),
        order="order:Q",
        tooltip=alt.Tooltip("words:N", title="Phase"),
    )  # fmt: skip
    return finish(bar, height=46)
