"""Trials that were cut short: what that saved, and what it may have cost."""

from typing import Any

import altair as alt
import pandas as pd

from nas.fidelity.risk import Risk, risk
from nas.reporting.theme import ACCENT, finish, legend, percent, rows
from nas.run import Run

SAVED = "#d3dae1"  # pale: what was not spent


def fidelity_table(run: Run) -> pd.DataFrame:
    """One row for each epoch at which search trials ended or wait: how many, epochs trained, epochs saved.

    Empty where none was cut short.
    """
    epochs = run.campaign.training.epochs
    ended = [t for t in run.searched() if t.curve and t.state in ("paused", "stopped", "complete", "infeasible")]
    records = [
        {
            "epoch": epoch, "trials": len(group), "cut_short": sum(t.state in ("paused", "stopped") for t in group),
            "trained": epoch * len(group), "saved": (epochs - epoch) * len(group),
        }
        for epoch in sorted({len(t.curve) for t in ended})
        if (group := [t for t in ended if len(t.curve) == epoch])
    ]  # fmt: skip
    table = pd.DataFrame(records, columns=["epoch", "trials", "cut_short", "trained", "saved"])
    return table if table["cut_short"].sum() or run.checked else table[:0]


def risk_table(run: Run) -> pd.DataFrame:
    """One row for each trial that was cut short, the likeliest member of the front first. p_front: None if unknown.

    checked: finished after all; on_front: whether it is a member then.
    """
    front, records = {t.number for t in run.front()}, []
    for t in run.searched():
        if t.state in ("paused", "stopped") or t.number in run.checked:
            done = t.number in run.checked and t.state not in ("paused", "stopped", "running")
            records.append(
                {
                    "trial": t.number, "state": t.state, "epochs": len(t.curve), "p_front": run.chances.get(t.number),
                    "checked": done, "on_front": t.number in front if done else None,
                }
            )  # fmt: skip
    table = pd.DataFrame(records, columns=["trial", "state", "epochs", "p_front", "checked", "on_front"])
    return table.sort_values("p_front", ascending=False, kind="stable").reset_index(drop=True)


def fidelity_words(run: Run, table: pd.DataFrame) -> str:
    """What was saved, then the risk as the forecast states it, then what finishing some of the trials showed."""
    trained, saved = int(table["trained"].sum()), int(table["saved"].sum())
    whole = saved / run.campaign.training.epochs
    words = (
        f"{int(table['cut_short'].sum())} of {int(table['trials'].sum())} trials were cut short. That saved {saved} of "
        f"{trained + saved} epochs ({percent(saved / (trained + saved))}), the training of {whole:.3g} whole trials."
    )
    found = risk(run)
    return " ".join(filter(None, [words, stated_words(found), checked_words(found)]))


def stated_words(found: Risk) -> str:
    """The risk from the forecast's own probabilities."""
    if not found.stated:
        return "How many of them belong on the front cannot be said: too few trials were trained to the end."
    likeliest = (
        f"; the likeliest is trial {found.likeliest[0]} ({percent(found.likeliest[1])})" if found.likeliest else ""
    )
    unknown = f" For {found.cut - found.stated} nothing can be said." if found.cut > found.stated else ""
    return (
        f"By the forecast from their learning curves {found.expected:.2g} of {found.stated} that were ever cut short "
        f"belong on the front{likeliest}.{unknown}"
    )


def checked_words(found: Risk) -> str:
    """The check, and what it alone allows to say."""
    if found.share_at_most is None:
        return ""
    forecast = f", where the forecast had said {found.expected_checked:.2g}" if found.stated else ""
    return (
        f"Check: {found.checked} drawn at random were finished after all, and {found.found} of them are on the front"
        f"{forecast}. By this check alone at most {percent(found.share_at_most)} of such trials belong there (90 % "
        "confidence)."
    )


def draw_fidelity(table: pd.DataFrame, epochs: int) -> dict[str, Any]:
    """For each rung the trials that ended there: epochs trained, and beside them those saved."""
    long = table.melt(["epoch", "trials"], ["trained", "saved"], var_name="what", value_name="epochs")
    shown = long.assign(rung=[f"{e} of {epochs}" for e in long["epoch"]])
    colour = alt.Color(
        "what:N", scale=alt.Scale(domain=["trained", "saved"], range=[ACCENT, SAVED]), legend=legend(2)
    )  # fmt: skip
    bars = alt.Chart(rows(shown)).mark_bar().encode(
        y=alt.Y("rung:N", title="Trained to epoch", sort=list(dict.fromkeys(shown["rung"]))),
        x=alt.X("epochs:Q", title="Epochs of all trials that ended there", axis=alt.Axis(grid=False, tickCount=6)),
        color=colour, order=alt.Order("what:N", sort="descending"),
        tooltip=[alt.Tooltip("rung:N"), alt.Tooltip("trials:Q"), alt.Tooltip("what:N"), alt.Tooltip("epochs:Q")],
    )  # fmt: skip
    return finish(bars, height=44 * len(table))
