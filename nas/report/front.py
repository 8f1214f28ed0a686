"""The front: every trial a point, its non-dominated ones connected, references named beside them."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from nas.objective import METRICS, Objective, losses
from nas.pareto import front_indices
from nas.report.classes import colours_of, main_class
from nas.report.labels import SIDES, place_labels
from nas.report.tables import knee_of
from nas.report.theme import INK, NARROW, QUIET, axis_format, finish, is_wide, legend, number, rows, scale_of
from nas.run import Run
from nas.trial import Trial

HEIGHT = 430
WIDE, SLIM = (760.0, float(HEIGHT)), (290.0, float(HEIGHT))  # plot areas that labels are placed for, in pixels


def front_points(run: Run) -> pd.DataFrame:
    """Every trial whose objectives are all measured. role: front, dominated, infeasible or reference."""
    names = [o.name for o in run.campaign.objective_list]
    members = run.front()
    on_front, knee = {t.number for t in members}, knee_of(run, members)
    drawn = [t for t in run.trials if t.state in ("complete", "infeasible") and all(n in t.values for n in names)]
    records = [_point(run, t, "front" if t.number in on_front else _role(t)) | {"knee": t.number == knee} for t in drawn]
    bounds = [f"{n}_{end}" for n in names for end in ("low", "high")]
    columns = ["trial", "name", "label", "role", "knee", "class", "architecture", *names, *bounds]
    return pd.DataFrame(records, columns=[*columns, *(f"{n} text" for n in names)])


def _role(trial: Trial) -> str:
    if trial.kind == "reference":
        return "reference"
    return "dominated" if trial.state == "complete" else "infeasible"


def _point(run: Run, t: Trial, role: str) -> dict[str, Any]:
    record: dict[str, Any] = {
        "trial": t.number, "name": t.name, "role": role, "class": main_class(t.genotype), "architecture": str(t.genotype),
        "label": t.name if role == "reference" else str(t.number),
    }  # fmt: skip
    for objective in run.campaign.objective_list:
        name = objective.name
        low, high = t.intervals.get(name, (None, None))
        record |= {name: t.values[name], f"{name}_low": low, f"{name}_high": high}
        record[f"{name} text"] = number(name, t.values[name]) + _interval_text(name, low, high)
    return record


def _interval_text(name: str, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f" ({number(name, low)} to {number(name, high)})"


def axes_of(objectives: tuple[Objective, ...]) -> list[tuple[Objective, Objective]]:
    """The (x, y) of each chart: the quality upwards, one chart for each other objective."""
    y = next((o for o in objectives if o.direction == "maximize"), objectives[-1])
    return [(x, y) for x in objectives if x is not y]


def draw_front(points: pd.DataFrame, x: Objective, y: Objective) -> dict[str, Any]:
    """Specification of cost x against quality y. A click on a point sets the signal `picked` to its trial."""
    table = _with_labels(_with_staircase(points, x, y), x, y)
    picked = alt.param(name="picked", value=-1)
    layers = [_staircase(x, y), *_intervals(table, x, y), *_marks(table, x, y), _labels(x, y)]
    chart = alt.layer(*layers, data=rows(table)).add_params(picked)
    return finish(chart, height=HEIGHT)


def _with_staircase(points: pd.DataFrame, x: Objective, y: Objective) -> pd.DataFrame:
    """Marks what to connect: members of the front that no trial dominates in these two objectives alone."""
    table = points.assign(step=False)
    members = table.index[table["role"] == "front"]
    pair = losses(table.loc[members, [x.name, y.name]].to_dict("records"), (x, y))
    table.loc[members[front_indices(pair)], "step"] = True
    return table


def _with_labels(points: pd.DataFrame, x: Objective, y: Objective) -> pd.DataFrame:
    """Adds side, dx, dy, align and slim: whether the label also fits a narrow screen."""
    rank = points["role"].map({"reference": 1, "front": 2, "dominated": 3, "infeasible": 3}) - 2 * points["knee"].astype(int)
    table = points.assign(label=points["label"].where(~points["knee"].astype(bool), points["label"] + " knee"), rank=rank)
    named = table[rank < 3].sort_values("rank", kind="stable")
    texts = list(named["label"])
    wide = _pixels(table, x, y, WIDE)
    sides = place_labels(wide.loc[named.index].to_numpy(), texts, wide.to_numpy(), WIDE, [tuple(SIDES)] * len(named))
    slim = _pixels(table, x, y, SLIM)
    kept = place_labels(
        slim.loc[named.index].to_numpy(), texts, slim.to_numpy(), SLIM, [() if s is None else (s,) for s in sides]
    )
    table["side"] = pd.Series(dict(zip(named.index, sides, strict=True)), dtype=object).reindex(table.index)
    table["slim"] = pd.Series(dict(zip(named.index, (k is not None for k in kept), strict=True)), dtype=object).reindex(table.index)
    for field in ("dx", "dy", "align"):
        table[field] = [getattr(SIDES[s], field) if isinstance(s, str) else None for s in table["side"]]
    return table


def _pixels(table: pd.DataFrame, x: Objective, y: Objective, size: tuple[float, float]) -> pd.DataFrame:
    """(x, y) of each point in a plot area of `size`, downwards from the upper left."""
    across, up = _unit(table[x.name], x.name), _unit(table[y.name], y.name)
    return pd.DataFrame({"x": across * size[0], "y": (1 - up) * size[1]}, index=table.index)


def _unit(values: pd.Series, metric: str) -> pd.Series:
    domain = np.asarray(scale_of(values, metric).to_dict()["domain"], dtype=float)
    if metric != "accuracy" and is_wide(float(values.min()), float(values.max())):
        values, domain = np.log(values), np.log(domain)
    return (values - domain[0]) / (domain[1] - domain[0])


def _staircase(x: Objective, y: Objective) -> alt.Chart:
    line = alt.Chart().mark_line(interpolate="step-after", color=INK, strokeWidth=1.5, opacity=0.55)
    return line.transform_filter("datum.step").encode(x=f"{x.name}:Q", y=f"{y.name}:Q")


def _intervals(table: pd.DataFrame, x: Objective, y: Objective) -> list[alt.Chart]:
    """Error bars of the front and the references; those of dominated trials would hide the picture."""
    bars = []
    shown = "(datum.role === 'front' || datum.role === 'reference')"
    for objective, channel, other in ((x, "x", y), (y, "y", x)):
        low, high = f"{objective.name}_low", f"{objective.name}_high"
        if not table[low].notna().any():
            continue
        rule = alt.Chart().mark_rule(color=QUIET, strokeWidth=1.2, opacity=0.8)
        across = "y" if channel == "x" else "x"
        encoding = {channel: f"{low}:Q", f"{channel}2": f"{high}:Q", across: f"{other.name}:Q"}
        bars.append(rule.transform_filter(f"{shown} && isValid(datum['{low}'])").encode(**encoding))
    return bars


def _marks(table: pd.DataFrame, x: Objective, y: Objective) -> list[alt.Chart]:
    """Faint circles below, the front above them, references as diamonds."""
    faint = {"size": 55, "opacity": 0.45, "shape": "circle", "filled": True}
    hollow = {"size": 45, "opacity": 0.6, "shape": "circle", "filled": False}
    strong = {"size": 130, "opacity": 1, "shape": "circle", "filled": True, "stroke": INK}
    diamond = {"size": 150, "opacity": 1, "shape": "diamond", "filled": True, "stroke": INK}
    looks = {"infeasible": hollow, "dominated": faint, "front": strong, "reference": diamond}
    present = [role for role in looks if (table["role"] == role).any()]
    return [_points(table, x, y, role, looks[role]) for role in present]


def _points(table: pd.DataFrame, x: Objective, y: Objective, role: str, look: dict[str, Any]) -> alt.Chart:
    domain, colours = colours_of(set(table["class"]))
    scale_x, scale_y = scale_of(table[x.name], x.name), scale_of(table[y.name], y.name)
    stroke = 3 if look["filled"] else 2
    ring = alt.condition("datum.trial === picked", alt.value(stroke), alt.value(1 if "stroke" in look or not look["filled"] else 0))
    names = [c.removesuffix(" text") for c in table.columns if c.endswith(" text")]
    hover = [alt.Tooltip("name:N", title="Trial"), *(alt.Tooltip(f"{n} text:N", title=METRICS[n].label) for n in names)]
    hover += [alt.Tooltip("architecture:N", title="Architecture"), alt.Tooltip("class:N", title="Class")]
    return (
        alt.Chart()
        .mark_point(cursor="pointer", **look)
        .transform_filter(alt.datum.role == role)
        .encode(
            x=alt.X(f"{x.name}:Q", scale=scale_x, axis=_axis(x.name)),
            y=alt.Y(f"{y.name}:Q", scale=scale_y, axis=_axis(y.name)),
            color=alt.Color("class:N", scale=alt.Scale(domain=domain, range=colours), legend=legend(6)),
            strokeWidth=ring,
            tooltip=hover,
        )
    )


def _axis(metric: str) -> alt.Axis:
    return alt.Axis(title=METRICS[metric].label, format=axis_format(metric), tickCount=6, labelOverlap="greedy")


def _labels(x: Objective, y: Objective) -> alt.Chart:
    at = {key: alt.ExprRef(expr=f"datum.{key}") for key in ("dx", "dy", "align")}
    text = alt.Chart().mark_text(fontSize=11.5, baseline="middle", color=INK, **at)
    shown = alt.condition(f"datum.slim || width >= {NARROW}", alt.value(1), alt.value(0))
    weight = text.transform_filter("isValid(datum.side)")
    return weight.encode(x=f"{x.name}:Q", y=f"{y.name}:Q", text="label:N", opacity=shown)
