"""Several devices side by side: which of the front's members are good on all of them."""

from typing import Any

import pandas as pd

from nas.objective import split_name
from nas.reporting.theme import noun_of, number
from nas.run import Run
from nas.trial import Trial

COMPARED = ("latency_ms", "energy_mj")
WORDS = {"front": "on the front", "within": "within its interval"}


def device_names(run: Run) -> list[tuple[str, ...]]:
    """Costs that the campaign asks of two or more devices, such as (latency_ms, latency_ms@phone)."""
    groups = [tuple(n for n in run.campaign.metrics if split_name(n)[0] == metric) for metric in COMPARED]
    return [names for names in groups if len(names) > 1]


def standing_table(run: Run, names: tuple[str, ...]) -> pd.DataFrame:
    """Each member of the front on each device: its cost, how much the cheapest trial of at least its accuracy saves,
    and its place: "front" where none saves, "within" where the two intervals overlap, else "beaten".
    """
    drawn = [t for t in run.complete() if all(n in t.values for n in names)]
    rows = []
    for trial in (t for t in run.front() if all(n in t.values for n in names)):
        row: dict[str, Any] = {"trial": trial.number, "accuracy": trial.values["accuracy"]}
        for name in names:
            best = _cheapest(drawn, trial, name)
            row[name] = trial.values[name]
            row[f"{name} beaten by"] = 1 - best.values[name] / trial.values[name]
            row[f"{name} place"] = _place(trial, best, name)
        rows.append(row | {"good on all": all(row[f"{n} place"] != "beaten" for n in names)})
    per_device = [f"{n}{end}" for n in names for end in ("", " beaten by", " place")]
    return pd.DataFrame(rows, columns=["trial", "accuracy", *per_device, "good on all"])


def standing_rows(table: pd.DataFrame, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The table in words for the page."""
    return [
        {
            "trial": row["trial"], "good": bool(row["good on all"]), "accuracy": number("accuracy", row["accuracy"]),
            "cells": [(number(n, row[n]), _place_words(row, n)) for n in names],
        }
        for row in table.to_dict("records")
    ]  # fmt: skip


def good_words(table: pd.DataFrame, names: tuple[str, ...]) -> str:
    """The sentence above the table."""
    good = [str(n) for n in table.loc[table["good on all"].astype(bool), "trial"]] if len(table) else []
    what = " and ".join([", ".join(map(noun_of, names[:-1])), noun_of(names[-1])])
    if not good:
        return f"No member is on or within the interval of the front by {what} at once."
    several = "Trials" if len(good) > 1 else "Trial"
    are = "are" if len(good) > 1 else "is"
    return f"{several} {', '.join(good)} {are} on or within the interval of every device's front: by {what}."


def _cheapest(trials: list[Trial], than: Trial, name: str) -> Trial:
    """Of the trials at least as accurate, the one of least cost; the trial itself where none costs less."""
    rivals = [t for t in trials if t.values["accuracy"] >= than.values["accuracy"]]
    return min([than, *rivals], key=lambda t: t.values[name])


def _place(trial: Trial, best: Trial, name: str) -> str:
    if best is trial:
        return "front"
    low = trial.intervals.get(name, (trial.values[name],))[0]
    high = best.intervals.get(name, (best.values[name],))[-1]
    return "within" if low <= high else "beaten"


def _place_words(row: dict[Any, Any], name: str) -> str:
    place = row[f"{name} place"]
    return WORDS.get(place, f"beaten by {100 * row[f'{name} beaten by']:.0f} %")
