"""The page: one file that works offline, beside it the charts as PNG and SVG, the tables as CSV and Markdown."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from altair import VEGALITE_VERSION
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nas.objective import losses, split_name
from nas.pareto import hypervolume, reference_point
from nas.reporting import spending
from nas.reporting.classes import COLOURS, main_class
from nas.reporting.conditions import conditions
from nas.reporting.devices import device_names, good_words, standing_rows, standing_table
from nas.reporting.fidelity import risk_table
from nas.reporting.figures import Figure, figures
from nas.reporting.panel import measured, metrics_of, panel
from nas.reporting.tables import (
    export_command,
    failures_table,
    front_table,
    knee_of,
    markdown,
    rejections_table,
    train_command,
)
from nas.reporting.theme import duration, name_of, number, percent
from nas.run import Run
from nas.trial import untrained

PICTURE_WIDTH = 880  # pixels; the PNG has twice as many
SECTIONS = {
    "front": "Front", "devices": "Devices", "predictions": "Predictions", "progress": "Progress",
    "search": "How good was the search", "mechanisms": "Mechanisms", "importance": "Importance",
    "curves": "Learning curves", "fidelity": "Early stopping", "costs": "Costs",
}  # fmt: skip
OPTIONAL = ("devices", "predictions", "fidelity")  # left out where a campaign has nothing to compare
_HERE = Path(__file__).parent


def write_report(run: Run) -> Path:
    """Write RUN/report/ and return its index.html. The page comes last and is replaced whole."""
    folder = run.path / "report"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures(run)
    for name, table in tables(run, drawn).items():
        write_file(folder / f"{name}.csv", table.to_csv(index=False))
        write_file(folder / f"{name}.md", markdown(table))
    for figure in drawn:
        write_pictures(folder, figure)
    return write_file(folder / "index.html", page(run, drawn))


def tables(run: Run, drawn: list[Figure]) -> dict[str, pd.DataFrame]:
    """Everything the page shows as numbers, by file name: one table per chart, and those without one."""
    counted = {
        "states": spending.states_table(run),
        "rejections": rejections_table(run),
        "failures": failures_table(run),
    }
    counted |= {"fidelity-risk": risk_table(run)} if len(risk_table(run)) else {}
    counted |= {f"devices-{split_name(names[0])[0]}": standing_table(run, names) for names in device_names(run)}
    return {"front": front_table(run)} | {f.name: f.table for f in drawn if f.table is not None} | counted


def write_pictures(folder: Path, figure: Figure) -> None:
    """NAME.png and NAME.svg; a chart that no longer has anything to show leaves none behind."""
    if figure.spec is None:
        for ending in ("png", "svg"):
            (folder / f"{figure.name}.{ending}").unlink(missing_ok=True)
        return
    spec = json.dumps(figure.spec | {"width": PICTURE_WIDTH, "padding": 12})
    version = ".".join(VEGALITE_VERSION.split(".")[:2])
    svg = vl_convert.vegalite_to_svg(spec, vl_version=version)
    write_file(folder / f"{figure.name}.svg", svg)
    write_file(folder / f"{figure.name}.png", vl_convert.svg_to_png(svg, scale=2))


def write_file(path: Path, content: str | bytes) -> Path:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    partial.replace(path)
    return path


def page(run: Run, drawn: list[Figure]) -> str:
    """The HTML of a run; every text in it is escaped by the template."""
    environment = Environment(
        loader=PackageLoader("nas.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        name=run.campaign.name, state=state_words(run), headline=headline(run), sections=sections(drawn),
        members=members(run), measured=[name_of(n) for n in metrics_of(run)], tested=bool(run.test_accuracy),
        states=spending.states_table(run).to_dict("records"), rejections=rejections_table(run).to_dict("records"),
        failures=failures_table(run).to_dict("records"), spent=spent(run), energy=spending.energy_method(run),
        doubtful=bool(run.p_dominated()), standings=standings(run), conditions=conditions(run), notes=run.notes,
        colours=COLOURS, css=Markup((_HERE / "page.css").read_text()), script=Markup((_HERE / "page.js").read_text()),
        bundle=Markup(_bundle() if any(f.spec for f in drawn) else ""),
        data=embedded(script_data(run, drawn)),
    )  # fmt: skip


def script_data(run: Run, drawn: list[Figure]) -> dict[str, Any]:
    """What page.js reads: the charts, the words of every trial, and the trial that is open at first."""
    trials = {t.number: panel(run, t) for t in run.trials}
    return {"specs": {f.name: f.spec for f in drawn if f.spec}, "trials": trials, "first": knee_of(run, run.front())}


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    version = ".".join(VEGALITE_VERSION.split(".")[:2])
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return script.replace("</script", "<\\/script")


def embedded(data: Any) -> Markup:
    """JSON that can stand inside a script element: nothing in it can end the element or open a comment."""
    text = json.dumps(data, separators=(",", ":"), default=float)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def sections(drawn: list[Figure]) -> list[dict[str, Any]]:
    return [
        {"id": key, "title": title, "figures": [f for f in drawn if f.section == key]}
        for key, title in SECTIONS.items()
        if key not in OPTIONAL or any(f.section == key for f in drawn)
    ]


def state_words(run: Run) -> str:
    """One sentence about how far the campaign is."""
    done = sum(t.state in ("complete", "infeasible", "failed") for t in run.searched())
    cut, wanted = sum(t.state in ("paused", "stopped") for t in run.searched()), run.campaign.budget.trials
    turned = sum(untrained(t) for t in run.searched())
    progress_words = f"{done} of {wanted} trials have ended"
    if cut or turned:
        parts = ((cut, "cut short"), (turned, "turned away untrained by a limit"))
        more = "".join(f", {count} {what}" for count, what in parts if count)
        ended = f"{done - turned} {'trial has' if done - turned == 1 else 'trials have'} ended"
        progress_words = f"{ended}{more}; the budget is the training of {wanted}"
    return {
        "finished": f"Finished: {progress_words}.",
        "interrupted": f"Interrupted: {progress_words}. Continue with --resume.",
    }.get(run.status, f"Running, or stopped without notice: {progress_words}.")


def headline(run: Run) -> list[tuple[str, str]]:
    """The few numbers that matter most: (value, what it is)."""
    done, front = run.complete(), run.front()
    best = max((t.values["accuracy"] for t in done if "accuracy" in t.values), default=None)
    objectives = run.campaign.objective_list
    values = losses([t.values for t in done], objectives)
    volume = f"{hypervolume(values, reference_point(values)):.4g}" if len(done) > 1 else "–"
    return [
        (str(len(done)), "trials complete"), (str(len(front)), "on the front"),
        (number("accuracy", best), "best validation accuracy"), (volume, "hypervolume"),
        (duration(run.seconds), "wall time"),
    ]  # fmt: skip


def spent(run: Run) -> list[tuple[str, str]]:
    worker = sum(sum(t.seconds.values()) for t in run.trials)
    inside = sum(t.seconds.get("train", 0.0) + t.seconds.get("measure", 0.0) for t in run.trials)
    share = [("of it training or measuring", f"{100 * inside / worker:.0f} %")] if worker else []
    times = [
        ("wall time, all sessions", duration(run.seconds)),
        ("worker time inside trials", duration(worker)),
        *share,
    ]
    return times + spending.energy_pairs(run)


def standings(run: Run) -> list[dict[str, Any]]:
    """A table for each cost that several devices have."""
    found = []
    for names in device_names(run):
        table = standing_table(run, names)
        found.append(
            {
                "words": good_words(table, names), "labels": [name_of(n) for n in names],
                "rows": standing_rows(table, names),
            }
        )  # fmt: skip
    return found


def members(run: Run) -> list[dict[str, Any]]:
    """The rows of the front's table."""
    front, beaten = run.front(), run.p_dominated()
    knee = knee_of(run, front)
    return [
        {
            "number": t.number, "knee": t.number == knee, "class": main_class(t.genotype), "text": str(t.genotype),
            "values": [measured(t, n) for n in metrics_of(run)],
            "test": number("accuracy", run.test_accuracy.get(t.number)), "doubt": percent(beaten.get(t.number)),
            "export": export_command(run, t), "train": train_command(run, t),
        }
        for t in front
    ]  # fmt: skip
