"""What a chart spans when a few trials lie far from the rest: these wait at the edge, and words count them."""

import altair as alt
import pandas as pd

from nas.objective import Objective
from nas.pareto import worst_inlier
from nas.reporting.theme import number, scale_of

KEPT = ("front", "reference")  # always shown whole, error bars included
EDGES = {
    ("x", 1.0): "triangle-right",
    ("x", -1.0): "triangle-left",
    ("y", 1.0): "triangle-up",
    ("y", -1.0): "triangle-down",
}


def worst_shown(points: pd.DataFrame, objective: Objective) -> float:
    """The worst value with a place on the axis: of trials that are not far out, of the front and of the references."""
    kept = points[points["role"].isin(KEPT)]
    ends = pd.concat([kept[c].dropna().astype(float) for c in _columns(objective)], ignore_index=True)
    losses = objective.sign * ends
    searched = points.loc[points["role"] != "reference", objective.name].to_numpy(float)
    if len(searched):
        losses = pd.concat([losses, pd.Series(worst_inlier(objective.sign * searched[:, None]))], ignore_index=True)
    return objective.sign * float(losses.max())


def far_out(points: pd.DataFrame, objective: Objective) -> pd.Series:
    """Which trials lie beyond the worst value shown."""
    return objective.sign * points[objective.name].astype(float) > objective.sign * worst_shown(points, objective)


def front_scale(points: pd.DataFrame, objective: Objective) -> alt.Scale:
    """The axis of an objective, around every value that is shown."""
    inside = points[~far_out(points, objective)]
    bars = inside[inside["role"].isin(KEPT)]
    ends = [bars[c].dropna().astype(float) for c in _columns(objective)[1:]]
    return scale_of(pd.concat([inside[objective.name].astype(float), *ends], ignore_index=True), objective.name)


def at_the_edge(points: pd.DataFrame, x: Objective, y: Objective, scales: dict[str, alt.Scale]) -> pd.DataFrame:
    """Moves far-out trials to the end of the axis and makes their role `outside`; `edge` is a shape that says where."""
    table = points.assign(edge=None)
    for channel, objective in (("x", x), ("y", y)):
        far = far_out(points, objective)
        low, high = scales[objective.name].to_dict()["domain"]
        table[objective.name] = table[objective.name].astype(float).mask(far, high if objective.sign > 0 else low)
        table.loc[far, ["role", "edge"]] = "outside", EDGES[channel, objective.sign]
    return table


def outside_words(points: pd.DataFrame, objectives: tuple[Objective, Objective]) -> str:
    """How many trials the axes leave out, such as "Triangles at the edge: 1 trial below 86.8 %."; empty for none."""
    counted = [(int(far_out(points, o).sum()), o) for o in objectives]
    parts = [
        f"{_trials(n)} {'below' if o.sign < 0 else 'above'} {number(o.name, worst_shown(points, o))}"
        for n, o in counted
        if n
    ]
    return f"Triangles at the edge: {', '.join(parts)}." if parts else ""


def accuracy_floor(accuracies: pd.Series) -> float:
    """The lowest accuracy that is not far out."""
    return -float(worst_inlier(-accuracies.to_numpy(float)[:, None])[0])


def below_words(accuracies: pd.Series) -> str:
    """How many trials lie below the floor; empty for none."""
    floor = accuracy_floor(accuracies)
    below = int((accuracies < floor).sum())
    return f"Triangles at the edge: {_trials(below)} below {number('accuracy', floor)}." if below else ""


def _trials(n: int) -> str:
    return "1 trial" if n == 1 else f"{n} trials"


def _columns(objective: Objective) -> list[str]:
    return [objective.name, f"{objective.name}_low", f"{objective.name}_high"]
