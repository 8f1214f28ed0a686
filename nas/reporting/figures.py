"""The charts of the page in their order, each with how to read it; or the sentence that stands in its place."""

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from nas.objective import Objective
from nas.reporting import (
    calibration,
    devices,
    fidelity,
    front,
    importance,
    limits,
    mechanisms,
    predictions,
    progress,
    proposed,
    random_search,
    scores,
    spending,
    stopping,
    winners,
)
from nas.reporting.extent import below_words, outside_words
from nas.reporting.surrogate import Surrogate
from nas.reporting.theme import name_of, noun_of
from nas.run import Run


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figure:
    """One chart. `spec` is None where the campaign has too little to show; `reading` then says so."""

    name: str  # of its files and of its place on the page
    section: str
    title: str
    reading: str
    spec: dict[str, Any] | None = None
    table: pd.DataFrame | None = None  # what a CSV beside the chart holds


def figures(run: Run) -> list[Figure]:
    surrogate = Surrogate(run)
    return [
        *front_figures(run), *device_figures(run), *prediction_figures(run), *progress_figures(run),
         random_search_figure(run, surrogate), stopping_figure(run), calibration_figure(run),
         limits_figure(run, surrogate), proposed_figure(run), *mechanism_figures(run), winners_figure(run),
         importance_figure(run), curves_figure(run), *fidelity_figures(run),
        *score_figures(run),
        phases_figure(run),
    ]  # fmt: skip


def front_figures(run: Run) -> list[Figure]:
    """One chart for each objective beside the accuracy; costs of several devices have a section of their own."""
    points = front.front_points(run)
    beside = {name for names in devices.device_names(run) for name in names}
    every = front.axes_of(run.campaign.objective_list)
    axes = [pair for i, pair in enumerate(every) if i == 0 or pair[0].name not in beside]
    drawn = []
    for i, (x, y) in enumerate(axes):
        name = "front" if i == 0 else f"front-{file_name(x.name)}"
        title = f"{name_of(y.name)} against {noun_of(x.name)}"
        reading = _front_reading(run, points, (x, y), i, len(every)) if len(points) else _nothing_yet(run)
        spec = front.draw_front(points, x, y) if len(points) else None
        drawn.append(Figure(name=name, section="front", title=title, reading=reading, spec=spec))
    return drawn


def _front_reading(run: Run, points: pd.DataFrame, axes: tuple[Objective, Objective], chart: int, charts: int) -> str:
    """How to read one of the front's charts; the first one carries what holds for all."""
    x, outside = axes[0], outside_words(points, axes)
    joined = "the front" if charts == 1 else f"those that win by {noun_of(x.name)} and accuracy alone"
    line = f"The line joins {joined}."
    if chart > 0:
        return f"The same trials by {noun_of(x.name)}. {line} {outside}".strip()
    better = "Up and to the left is better. Large circles are the front, which no trial beats; faint ones are beaten."
    named = "Diamonds are reference networks." if run.references() else ""
    broken = any(t.state == "infeasible" and x.name in t.values and "accuracy" in t.values for t in run.trials)
    hollow = "Hollow circles break a constraint." if broken else ""
    three = "A member that looks beaten here wins in the other chart." if charts > 1 else ""
    bars = "Bars are 90 % intervals." if any(x.name in t.intervals for t in run.trials) else ""
    bars = f"{bars} {_told(run, x.name)}".strip()
    unseen = sum(t.state in ("failed", "queued", "running", "paused", "stopped") for t in run.trials)
    rest = f"{unseen} without a result {'is' if unseen == 1 else 'are'} not drawn." if unseen else ""
    return " ".join(
        filter(None, [better, named, hollow, three, line, bars, outside, "Click a point for its stages.", rest])
    )


def _told(run: Run, name: str) -> str:
    """Where a cost comes from, as far as it was not measured for all."""
    source = run.campaign.sources.get(name)
    if source is None or source.source == "measured":
        return ""
    again = any(name in t.measured_again for t in run.trials)
    rest = "; the front and its rivals were measured in the end" if again else ""
    if name in run.scales:
        rest += f", and what was only predicted is multiplied by {run.scales[name]:.2f} to be on their scale"
    noun = noun_of(name)
    return f"{noun[0].upper()}{noun[1:]} is predicted by a profile{rest}."


def device_figures(run: Run) -> list[Figure]:
    """The same members by the cost of each device, side by side."""
    drawn = []
    accuracy = Objective(name="accuracy", direction="maximize")
    for name in (name for names in devices.device_names(run) for name in names):
        points = front.front_points(run, (name,))
        if not len(points):
            continue
        x = Objective(name=name, direction="minimize")
        spec = front.draw_front(points, x, accuracy, height=300)
        words = f"The line joins the members that win by {noun_of(name)} and accuracy alone."
        reading = " ".join(filter(None, [words, _told(run, name), outside_words(points, (x, accuracy))]))
        drawn.append(Figure(name=f"device-{file_name(name)}", section="devices", title=name_of(name), reading=reading,
                            spec=spec))  # fmt: skip
    return drawn


def prediction_figures(run: Run) -> list[Figure]:
    """What a profile had said, beside what was measured."""
    drawn = []
    for name in predictions.predicted_names(run):
        table = predictions.predictions_table(run, name)
        title = f"{name_of(name)}: predicted and measured"
        drawn.append(Figure(name=f"predicted-{file_name(name)}", section="predictions", title=title, table=table,
                            reading=predictions.predictions_words(table),
                            spec=predictions.draw_predictions(table, name)))  # fmt: skip
    return drawn


def file_name(metric: str) -> str:
    return metric.replace("@", "-")


def _nothing_yet(run: Run) -> str:
    failed = sum(t.state == "failed" for t in run.searched())
    if failed and failed == len(run.searched()):
        whole = f"All {failed} trials" if failed > 1 else "The only trial"
        return f"{whole} failed, so there is no front. The reasons stand under Costs."
    return "No trial has finished with every objective measured, so there is no front yet."


def progress_figures(run: Run) -> list[Figure]:
    table = progress.hypervolume_table(run)
    if table.empty:
        reading = "The hypervolume is drawn from the second complete trial on."
        return [Figure(name="hypervolume", section="progress", title="Hypervolume", reading=reading)]
    trials = (
        "The volume of objective space that the front covers, from zero; larger is better. "
        f"Reference point: {progress.reference_words(run)}, a tenth of the range beyond the worst trial; off the "
        "front, trials that are worse than their quartile by over three interquartile ranges do not count."
    )
    time = "The same over the time in which at least one trial ran; breaks between sessions are left out."
    return [
        Figure(name="hypervolume-trials", section="progress", title="Hypervolume over trials", reading=trials,
               table=table, spec=progress.draw_hypervolume(table, "trials")),
        Figure(name="hypervolume-time", section="progress", title="Hypervolume over time", reading=time,
               spec=progress.draw_hypervolume(table, "minutes")),
    ]  # fmt: skip


def random_search_figure(run: Run, surrogate: Surrogate) -> Figure:
    found = random_search.compare(run, surrogate)
    title = "This campaign beside random search"
    if isinstance(found, str):
        return Figure(name="random-search", section="search", title=title, reading=found)
    table = random_search.random_search_table(found)
    reading = random_search.random_search_words(run, found)
    spec = random_search.draw_random_search(table)
    return Figure(name="random-search", section="search", title=title, reading=reading, table=table, spec=spec)


def calibration_figure(run: Run) -> Figure:
    table = calibration.calibration_table(run)
    absent = Figure(name="calibration", section="search", title="What the sampler expected, and what was found",
                    reading=calibration.absent_words(run, table))  # fmt: skip
    if len(table) < calibration.ENOUGH:
        return absent
    reading = calibration.calibration_words(run, table)
    return replace(absent, reading=reading, table=table, spec=calibration.draw_calibration(table))


def stopping_figure(run: Run) -> Figure:
    table = stopping.stopping_table(run)
    reading = stopping.stopping_words(run, table)
    absent = Figure(name="stopping", section="search", title="What more trials would add", reading=reading)
    return absent if table.empty else replace(absent, table=table, spec=stopping.draw_stopping(run))


def limits_figure(run: Run, surrogate: Surrogate) -> Figure:
    """Words and a table: there is nothing to draw in a handful of shares."""
    table = limits.limits_table(run, surrogate)
    return Figure(name="limits", section="search", title="The binding limit", reading=limits.limits_words(run, table),
                  table=None if table.empty else table)  # fmt: skip


def proposed_figure(run: Run) -> Figure:
    table = proposed.proposed_table(run)
    reading = proposed.proposed_words(run, table)
    absent = Figure(name="proposed", section="search", title="What became of the proposals", reading=reading)
    return absent if table.empty else replace(absent, table=table, spec=proposed.draw_proposed(table))


def winners_figure(run: Run) -> Figure:
    table = winners.winners_table(run)
    title = f"Which mechanism wins at which {noun_of(winners.cost_of(run))}"
    reading = f"Mechanisms are compared by cost from {winners.EACH} complete trials on."
    absent = Figure(name="winners", section="mechanisms", title=title, reading=reading)
    if table.empty:
        return absent
    spec = winners.draw_winners(table, winners.cost_of(run))
    return replace(absent, reading=winners.winners_words(run, table), table=table, spec=spec)


def mechanism_figures(run: Run) -> list[Figure]:
    uses = mechanisms.uses_table(run)
    if uses["trial"].nunique() < 2:
        reading = "Mechanisms are compared from the second trained trial on."
        return [Figure(name="mechanisms", section="mechanisms", title="Accuracy by mechanism", reading=reading)]
    by_mechanism = (
        "One dot per trial that uses the mechanism in some block, a bar at the median, their number in brackets. "
        "The sampler favours what works and networks mix mechanisms, so this shows association, not cause."
    )
    outside = below_words(uses.drop_duplicates("trial")["accuracy"])
    by_mechanism = f"{by_mechanism} {outside}".strip()
    by_stage = "Median accuracy of the trials that use the mechanism in that stage, and how many they are."
    clamped = " The colours stop where the rest of the trials end; the numbers are the true ones." if outside else ""
    return [
        Figure(name="mechanisms", section="mechanisms", title="Accuracy by mechanism", reading=by_mechanism,
               table=mechanisms.mechanism_table(uses), spec=mechanisms.draw_mechanisms(uses)),
        Figure(name="stages", section="mechanisms", title="Accuracy by mechanism and stage", reading=by_stage + clamped,
               table=mechanisms.stage_table(uses), spec=mechanisms.draw_stages(uses)),
    ]  # fmt: skip


def importance_figure(run: Run) -> Figure:
    table = importance.importance_table(run)
    n = len(run.complete())
    reading = f"Importance needs at least {importance.ENOUGH} complete trials; this campaign has {n}."
    if n >= importance.ENOUGH:
        reading = f"A random forest cannot predict any objective from the {n} trials, so nothing is drawn."
    absent = Figure(name="importance", section="importance", title="Importance of each dimension", reading=reading)
    if table.empty:
        return absent
    return replace(absent, reading=_importance_reading(run, table), table=table, spec=importance.draw_importance(table))


def _importance_reading(run: Run, table: pd.DataFrame) -> str:
    """The method, how far to trust it, and what it left out."""
    fits = table.drop_duplicates("objective")
    quality = ", ".join(f"{noun_of(o)} {r2:.2f}" for o, r2 in zip(fits["objective"], fits["r2"], strict=True))
    missing = [noun_of(o.name) for o in run.campaign.objective_list if o.name not in set(fits["objective"])]
    absent = f" Not shown: {', '.join(missing)}, which the forest cannot predict." if missing else ""
    told, asked = table.loc[table["matters"], "dimension"].nunique(), table["dimension"].nunique()
    return (
        f"Permutation importance of a random forest on {fits['trials'].iloc[0]} trials: how much of the held-out R² is "
        f"lost when a dimension is shuffled ({importance.FOLDS} folds, {importance.ROUNDS} times; R²: {quality}). "
        "Lines are 90 % intervals; a pale bar cannot be told from nothing. "
        f"For some objective {told} of {asked} dimensions can; of those without effect about one in twenty would by "
        f"chance. The {min(importance.SHOWN, asked)} strongest are drawn.{absent}"
    )


def curves_figure(run: Run) -> Figure:
    table = progress.curves_table(run)
    absent = Figure(name="curves", section="curves", title="Learning curves", reading="No trial has finished an epoch.")
    if table.empty:
        return absent
    reading = "Validation accuracy after each epoch. The front in colour, references dashed, other trials grey."
    if hidden := progress.curves_below(table):
        reading += f" {hidden} of {table['trial'].nunique()} curves end below the axis."
    return replace(absent, reading=reading, table=table, spec=progress.draw_curves(table))


def score_figures(run: Run) -> list[Figure]:
    """What became of the zero-cost scores that the campaign asked for; nothing where it asked for none."""
    table = scores.scores_table(run)
    if table.empty:
        return []
    title = "Scores of untrained networks"
    return [Figure(name="scores", section="progress", title=title, reading=scores.scores_words(run), table=table)]


def fidelity_figures(run: Run) -> list[Figure]:
    """What cutting trials short saved, and the risk of it; nothing where all were trained in full."""
    table = fidelity.fidelity_table(run)
    if table.empty:
        return []
    spec = fidelity.draw_fidelity(table, run.campaign.training.epochs)
    return [Figure(name="fidelity", section="fidelity", title="Training saved, and its risk", table=table, spec=spec,
                   reading=fidelity.fidelity_words(run, table))]  # fmt: skip


def phases_figure(run: Run) -> Figure:
    table = spending.phases_table(run)
    absent = Figure(
        name="phases", section="costs", title="Worker time by phase", reading="No worker time has been recorded."
    )
    if not table["seconds"].sum():
        return absent
    reading = (
        "Time inside trials, all workers together: training, measuring latency, waiting for a quiet device, setting up."
    )
    return replace(absent, reading=reading, table=table, spec=spending.draw_phases(table))
