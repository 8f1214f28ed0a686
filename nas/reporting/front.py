"""The front: every trial a point, its non-dominated ones connected, references named beside them."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from nas.objective import Objective, metric_of
from nas.pareto import front_indices
from nas.reporting.classes import colours_of, main_class
from nas.reporting.extent import KEPT, at_the_edge, front_scale
from nas.reporting.key import key
from nas.reporting.labels import SIDES, PlotArea, along, around, place_labels
from nas.reporting.tables import knee_of
from nas.reporting.theme import (
    INK,
    NARROW,
    QUIET,
    axis_format,
    field,
    finish,
    interval,
    legend,
    name_of,
    number,
    percent,
    rows,
)
from nas.run import Run
from nas.trial import Trial

HEIGHT = 430
WIDE, SLIM = 690.0, 270.0  # widths of plot areas that labels are placed for, in pixels


def front_points(run: Run, further: tuple[str, ...] = ()) -> pd.DataFrame:
    """Every trial whose objectives are all measured. role: front, dominated, infeasible or reference.

    further: other metrics that its points shall have, such as a cost that is only limited.
    """
    names = list(dict.fromkeys([*(o.name for o in run.campaign.objective_list), *further]))
    members, beaten = run.front(), run.p_dominated()
    on_front, knee = {t.number for t in members}, knee_of(run, members)
    drawn = [t for t in run.trials if t.state in ("complete", "infeasible") and all(n in t.values for n in names)]
    records = [
        _point(names, t, "front" if t.number in on_front else _role(t))
        | {"knee": t.number == knee, "doubt": percent(beaten.get(t.number))}
        for t in drawn
    ]
    bounds = [f"{n}_{end}" for n in names for end in ("low", "high")]
    columns = ["trial", "name", "label", "role", "knee", "doubt", "class", "architecture", *names, *bounds]
    return pd.DataFrame(records, columns=[*columns, *(f"{n} text" for n in names)])


def _role(trial: Trial) -> str:
    if trial.kind == "reference":
        return "reference"
    return "dominated" if trial.state == "complete" else "infeasible"


def _point(names: list[str], t: Trial, role: str) -> dict[str, Any]:
    record: dict[str, Any] = {
        "trial": t.number, "name": t.name, "role": role, "class": main_class(t.genotype),
        "architecture": str(t.genotype), "label": t.name if role == "reference" else str(t.number),
    }  # fmt: skip
    for name in names:
        low, high = t.intervals.get(name, (None, None))
        record |= {name: t.values[name], f"{name}_low": low, f"{name}_high": high}
        record[f"{name} text"] = number(name, t.values[name]) + _interval_text(name, low, high)
    return record


def _interval_text(name: str, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f" ({interval(name, low, high)})"


def axes_of(objectives: tuple[Objective, ...]) -> list[tuple[Objective, Objective]]:
    """The (x, y) of each chart: the quality upwards, one chart for each other objective."""
    y = next((o for o in objectives if o.direction == "maximize"), objectives[-1])
    return [(x, y) for x in objectives if x is not y]


def draw_front(points: pd.DataFrame, x: Objective, y: Objective, *, height: int = HEIGHT) -> dict[str, Any]:
    """Specification of cost x against quality y. A click on a point sets the signal `picked` to its trial."""
    scales = {o.name: front_scale(points, o) for o in (x, y)}
    table = at_the_edge(_with_staircase(points, x, y), x, y, scales)
    table = _with_labels(table, x, y, scales, height)
    picked = alt.param(name="picked", value=-1)
    bars = _intervals(table, x, y)
    layers = [
        _staircase(x, y),
        *bars,
        *_marks(table, x, y, scales),
        _labels(x, y, "white"),
        _labels(x, y, None),
        key(set(table["role"]) | ({"interval"} if bars else set())),
    ]
    chart = alt.layer(*layers, data=rows(table)).add_params(picked)
    return finish(chart, height=height)


def _with_staircase(points: pd.DataFrame, x: Objective, y: Objective) -> pd.DataFrame:
    """Marks what to connect: members of the front that no trial dominates in these two objectives alone."""
    table = points.assign(step=False)
    members = table.index[table["role"] == "front"]
    values = table.loc[members, [x.name, y.name]].to_numpy(float)
    pair = values * np.array([x.sign, y.sign])
    table.loc[members[front_indices(pair)], "step"] = True
    return table


def _with_labels(
    points: pd.DataFrame, x: Objective, y: Objective, scales: dict[str, alt.Scale], height: int
) -> pd.DataFrame:
    """Adds dx, dy and align where a label has room, and slim: whether it also has room on a narrow screen."""
    knee = points["knee"].astype(bool)
    table = points.assign(label=points["label"].where(~knee, points["label"] + " knee"), slim=False)
    rank = table["role"].map({"reference": 1, "front": 2}).mask(knee, 0).dropna().sort_values(kind="stable")
    named = table.loc[rank.index]
    wide, slim = (_area(scales[x.name], scales[y.name], width, height) for width in (WIDE, SLIM))
    sides = _placed(table, named, x, y, wide, [tuple(SIDES)] * len(named))
    kept = _placed(table, named, x, y, slim, [() if s is None else (s,) for s in sides])
    for at in ("dx", "dy", "align"):
        column = [None if s is None else getattr(SIDES[s], at) for s in sides]
        table[at] = pd.Series(column, index=named.index, dtype=object).reindex(table.index)
    table.loc[named.index, "slim"] = [k is not None for k in kept]
    return table


def _placed(
    table: pd.DataFrame, named: pd.DataFrame, x: Objective, y: Objective, area: PlotArea, choices: list[tuple[str, ...]]
) -> list[str | None]:
    """Sides of the named points in a plot area; clear of points, error bars and the staircase if possible."""
    points = area.pixels(table[x.name].to_numpy(float), table[y.name].to_numpy(float))
    steps = table[table["step"]].sort_values(x.name)
    corners = area.pixels(
        np.repeat(steps[x.name].to_numpy(float), 2)[1:], np.repeat(steps[y.name].to_numpy(float), 2)[:-1]
    )
    bars = [
        area.pixels(row[[f"{x.name}_low", f"{x.name}_high"]].to_numpy(float), np.repeat(row[y.name], 2))
        for _, row in named.iterrows() if row[f"{x.name}_low"] is not None
    ]  # fmt: skip
    mine = points[table.index.get_indexer(named.index)]
    obstacles = np.concatenate([points, around(mine), along([corners, *bars])])
    return place_labels(mine, list(named["label"]), obstacles, area, choices)


def _area(x: alt.Scale, y: alt.Scale, width: float, height: float) -> PlotArea:
    across, up = x.to_dict(), y.to_dict()
    return PlotArea(
        width=width, height=height, x=tuple(across["domain"]), y=tuple(up["domain"]),
        log_x=across.get("type") == "log", log_y=up.get("type") == "log",
    )  # fmt: skip


def _staircase(x: Objective, y: Objective) -> alt.Chart:
    line = alt.Chart().mark_line(interpolate="step-after", color=INK, strokeWidth=1.5, opacity=0.55)
    return line.transform_filter("datum.step").encode(x=field(x.name), y=field(y.name))


def _intervals(table: pd.DataFrame, x: Objective, y: Objective) -> list[alt.Chart]:
    """Error bars of the front and the references; those of beaten trials would hide the picture."""
    bars = []
    for objective, channel, other in ((x, "x", y), (y, "y", x)):
        low, high = f"{objective.name}_low", f"{objective.name}_high"
        if not table[low].notna().any():
            continue
        shown = alt.FieldOneOfPredicate(field="role", oneOf=list(KEPT))
        rule = alt.Chart().mark_rule(color=QUIET, strokeWidth=1.2, opacity=0.8)
        across = "y" if channel == "x" else "x"
        measured = (
            rule.transform_filter(shown)
            .transform_filter(f"isValid(datum['{low}'])")
            .encode(**{across: field(other.name)})
        )
        bars.append(measured.encode(**{channel: field(low), f"{channel}2": field(high)}))
        bars += [
            measured.mark_tick(color=QUIET, size=8, thickness=1.2).encode(**{channel: field(end)})
            for end in (low, high)
        ]
    return bars


def _marks(table: pd.DataFrame, x: Objective, y: Objective, scales: dict[str, alt.Scale]) -> list[alt.Chart]:
    """Faint circles below, the front above them, references as diamonds, what lies outside as triangles at the edge."""
    faint = {"size": 55, "opacity": 0.45, "shape": "circle", "filled": True}
    hollow = {"size": 45, "opacity": 0.6, "shape": "circle", "filled": False}
    strong = {"size": 130, "opacity": 1, "shape": "circle", "filled": True, "stroke": INK}
    diamond = {"size": 150, "opacity": 1, "shape": "diamond", "filled": True, "stroke": INK}
    edge = {"size": 110, "opacity": 0.7, "shape": alt.ExprRef(expr="datum.edge"), "filled": True}
    looks = {"outside": edge, "infeasible": hollow, "dominated": faint, "front": strong, "reference": diamond}
    present = [role for role in looks if (table["role"] == role).any()]
    return [_points(table, x, y, scales, role, looks[role]) for role in present]


def _points(
    table: pd.DataFrame, x: Objective, y: Objective, scales: dict[str, alt.Scale], role: str, look: dict[str, Any]
) -> alt.Chart:
    domain, colours = colours_of(set(table["class"]))
    stroke = 3 if look["filled"] else 2
    ring = alt.condition(
        "datum.trial === picked", alt.value(stroke), alt.value(1 if "stroke" in look or not look["filled"] else 0)
    )
    names = [c.removesuffix(" text") for c in table.columns if c.endswith(" text")]
    hover = [
        alt.Tooltip("name:N", title="Trial"),
        *(alt.Tooltip(field(f"{n} text", "N"), title=name_of(n)) for n in names),
    ]
    hover += [alt.Tooltip("doubt:N", title="Probably dominated")] if table["doubt"].any() else []
    hover += [alt.Tooltip("architecture:N", title="Architecture"), alt.Tooltip("class:N", title="Class")]
    return (
        alt.Chart()
        .mark_point(cursor="pointer", **look)
        .transform_filter(alt.datum.role == role)
        .encode(
            x=alt.X(field(x.name), scale=scales[x.name], axis=_axis(x.name)),
            y=alt.Y(field(y.name), scale=scales[y.name], axis=_axis(y.name)),
            color=alt.Color("class:N", scale=alt.Scale(domain=domain, range=colours), legend=legend(6)),
            strokeWidth=ring,
            tooltip=hover,
        )
    )


def _axis(metric: str) -> alt.Axis:
    return alt.Axis(title=metric_of(metric).label, format=axis_format(metric), tickCount=6, labelOverlap="greedy")


def _labels(x: Objective, y: Objective, halo: str | None) -> alt.Chart:
    """The names; drawn once with a halo, which keeps lines from striking them through, and once on top of it."""
    at: dict[str, Any] = {key: alt.ExprRef(expr=f"datum.{key}") for key in ("dx", "dy", "align")}
    edge: dict[str, Any] = {"stroke": halo, "strokeWidth": 3.5, "strokeJoin": "round"} if halo else {}
    text = alt.Chart().mark_text(fontSize=11.5, baseline="middle", color=INK, **at, **edge)
    shown = alt.condition(f"datum.slim || width >= {NARROW}", alt.value(1), alt.value(0))
    return text.transform_filter("isValid(datum.align)").encode(
        x=field(x.name), y=field(y.name), text="label:N", opacity=shown
    )
