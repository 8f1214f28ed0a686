"""What became of everything that was proposed: turned away before any work, turned away by a measurement, trained."""

from typing import Any

import altair as alt
import pandas as pd

from nas.reporting.theme import ACCENT, INK, QUIET, finish, noun_of, rows
from nas.run import Run
from nas.trial import Trial

WORDS = {
    "complete": "trained to the end", "cut": "trained in part", "duplicate": "repeated the network of a trial",
    "invalid": "broke the rules of the space", "memory": "needed more memory to train than is free",
    "failed": "failed", "running": "have not ended",
}  # fmt: skip
FILTERS = ("pareto",)  # samplers that look at costs themselves before they propose


def proposed_table(run: Run) -> pd.DataFrame:
    """One row per outcome of a proposal and, where a limit decided, its metric: how many, and their share of all."""
    outcomes = [(r.reason, r.detail if r.reason == "constraint" else "") for r in run.rejections]
    outcomes += [outcome(run, t) for t in run.searched()]
    counts = pd.Series(outcomes, dtype=object).value_counts()
    records = [(kind, metric, int(n), n / len(outcomes)) for (kind, metric), n in counts.items()]
    return pd.DataFrame(records, columns=["outcome", "metric", "proposals", "share"])


def outcome(run: Run, trial: Trial) -> tuple[str, str]:
    """complete, cut (short), failed, running, or infeasible with the metric whose limit a measurement broke."""
    if trial.state == "infeasible":
        broken = [c.metric for c in run.campaign.constraint_list if not c.holds(trial.values.get(c.metric, c.bound))]
        return "infeasible", broken[0] if broken else ""
    if trial.state in ("paused", "stopped"):
        return "cut", ""
    return ("running" if trial.state == "queued" else trial.state), ""


def proposed_words(run: Run, table: pd.DataFrame) -> str:
    """Of so many proposals so many were trained, and what the others were."""
    if table.empty:
        return "Nothing has been proposed yet."
    total, done = int(table["proposals"].sum()), table["outcome"] == "complete"
    trained = int(table.loc[done, "proposals"].sum())
    rest = [f"{row['proposals']} {outcome_words(row)}" for row in table[~done].to_dict("records")]
    first = f"Of {total} proposals {trained} were trained to the end"
    others = f"; {', '.join(rest)}." if rest else "."
    return first + others + _order_words(run, table) + _filter_words(run)


def outcome_words(row: dict[Any, Any]) -> str:
    """Such as "broke the limit on parameters before any work"."""
    limit = f"the limit on {noun_of(row['metric'])}" if row["metric"] else "a limit"
    if row["outcome"] == "constraint":
        return f"broke {limit} before any work"
    if row["outcome"] == "infeasible":
        return f"broke {limit} when measured"
    return WORDS[row["outcome"]]


def _order_words(run: Run, table: pd.DataFrame) -> str:
    """Only the first reason is on record."""
    several = len(run.campaign.constraint_list) > 1 and (table["outcome"] == "constraint").any()
    return " A proposal that breaks several limits is counted with the first of them." if several else ""


def _filter_words(run: Run) -> str:
    if run.campaign.sampler.name in FILTERS and len(run.searched()):
        name = run.campaign.sampler.name
        return f" {name} passes over duplicates and what breaks known limits before it proposes; those are not counted."
    return ""


def draw_proposed(table: pd.DataFrame) -> dict[str, Any]:
    """A bar for every outcome, the trained ones in colour."""
    words = [outcome_words(row) for row in table.to_dict("records")]
    text = [f"{n} ({100 * share:.0f} %)" for n, share in zip(table["proposals"], table["share"], strict=True)]
    colours = [ACCENT if kind == "complete" else QUIET for kind in table["outcome"]]
    shown = table.assign(words=words, text=text, colour=colours)
    y = alt.Y("words:N", sort=words, title=None, axis=alt.Axis(labelColor=INK, labelLimit=280, grid=False))
    top = 1.2 * int(table["proposals"].max())
    x = alt.X("proposals:Q", title="Proposals", scale=alt.Scale(domain=[0, top], nice=False),
              axis=alt.Axis(tickMinStep=1, tickCount=5, grid=False))  # fmt: skip
    bars = alt.Chart().mark_bar(height=16).encode(x=x, y=y, color=alt.Color("colour:N", scale=None))
    labels = alt.Chart().mark_text(align="left", dx=5, color=INK, fontSize=12).encode(x=x, y=y, text="text:N")
    return finish(alt.layer(bars, labels, data=rows(shown)), height=26 * len(table))
