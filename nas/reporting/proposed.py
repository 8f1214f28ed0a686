"""What became of everything that was proposed: turned away before any work, turned away by a measurement, trained."""

from collections import Counter
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
SHORT = {
    "complete": "trained", "cut": "trained in part", "duplicate": "duplicate", "invalid": "rules of the space",
    "memory": "memory", "failed": "failed", "running": "not ended",
}  # fmt: skip
FILTERS = ("pareto",)  # samplers that look at costs themselves before they propose


def proposed_table(run: Run) -> pd.DataFrame:
    """One row per outcome of a proposal and, where a limit decided, its metric: how many, and their share of all."""
    outcomes = [(r.reason, r.detail if r.reason == "constraint" else "") for r in run.rejections]
    outcomes += [outcome(run, t) for t in run.searched()]
    counts = Counter(outcomes).most_common()
    records = [(kind, metric, n, n / len(outcomes)) for (kind, metric), n in counts]
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
    words = [f"{_short(row)}: {row['proposals']} ({100 * row['share']:.0f} %)" for row in table.to_dict("records")]
    colours = [ACCENT if kind == "complete" else QUIET for kind in table["outcome"]]
    shown = table.assign(words=words, colour=colours)
    y = alt.Y("words:N", sort=words, title=None, axis=alt.Axis(labelColor=INK, labelLimit=210, grid=False))
    x = alt.X("proposals:Q", title="Proposals", axis=alt.Axis(tickMinStep=1, tickCount=5, grid=False))
    bars = alt.Chart(rows(shown)).mark_bar(height=16).encode(x=x, y=y, color=alt.Color("colour:N", scale=None))
    return finish(bars, height=26 * len(table))


def _short(row: dict[Any, Any]) -> str:
    """A label beside a bar."""
    limit = f"limit on {noun_of(row['metric'])}" if row["metric"] else "limit"
    return {"constraint": limit, "infeasible": f"{limit}, measured"}.get(row["outcome"], str(SHORT.get(row["outcome"])))
