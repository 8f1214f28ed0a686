"""How much each dimension of the space tells about an objective: permutation importance of a random forest.

Breiman, "Random Forests", Machine Learning 45 (2001). Measured on held-out folds, so that a forest that has only
memorised the trials shows no importance. A dimension that has no effect on a trial takes the value "inactive".
"""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from nas.objective import metric_of
from nas.reporting.tables import active_codes
from nas.reporting.theme import INK, finish, legend, rows
from nas.run import Run

ENOUGH, SHOWN = 20, 12  # trials needed; dimensions drawn
FOLDS, REPEATS, TREES = 5, 10, 50
BAR_COLOURS = ["#0072B2", "#E69F00", "#009E73"]


def importance_table(run: Run) -> pd.DataFrame:
    """Per objective and dimension: mean and standard deviation over the folds of the loss of R² when it is shuffled.

    `r2` is the held-out R² of the forest; an objective that the forest cannot predict (R² <= 0) is left out.
    """
    columns = ["objective", "dimension", "importance", "deviation", "r2", "trials"]
    codes = active_codes(run)
    trials = [t for t in run.complete() if t.number in codes]
    if len(trials) < ENOUGH:
        return pd.DataFrame(columns=columns)
    x, owners = encode([codes[t.number] for t in trials])
    found = []
    for objective in run.campaign.objective_list:
        y = np.array([t.values[objective.name] for t in trials])
        r2, drops = held_out_importance(x, owners, y)
        if r2 > 0:
            found += [(objective.name, d, v.mean(), v.std(), r2, len(trials)) for d, v in drops.items()]
    return pd.DataFrame(found, columns=columns)


def encode(codes: list[dict[str, Any]]) -> tuple[np.ndarray, list[str]]:
    """Codes -> (trials, columns) and the dimension that owns each column.

    Numbers stay numbers with a column that says "inactive"; words become one column each. Constant columns are dropped.
    """
    columns: list[np.ndarray] = []
    owners: list[str] = []
    for name in sorted({k for code in codes for k in code}):
        values = [code.get(name) for code in codes]
        for column in _columns(values):
            if np.ptp(column) > 0:
                columns.append(column)
                owners.append(name)
    return np.array(columns).T.reshape(len(codes), len(columns)), owners


def _columns(values: list[Any]) -> list[np.ndarray]:
    present = [v for v in values if v is not None]
    active = np.array([v is not None for v in values], dtype=float)
    if all(isinstance(v, int | float) for v in present):
        middle = float(np.median(present)) if present else 0.0
        return [np.array([middle if v is None else v for v in values], dtype=float), active]
    words = [None if v is None else str(v) for v in values]
    return [np.array([w == word for w in words], dtype=float) for word in sorted({str(v) for v in present})] + [active]


def held_out_importance(x: np.ndarray, owners: list[str], y: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """(R² on held-out trials, dimension -> loss of R² in each fold when its columns are shuffled together)."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold

    spread = float(np.var(y))
    if not owners or spread == 0:
        return 0.0, {}
    rng = np.random.default_rng(0)  # the same page from the same run
    names = list(dict.fromkeys(owners))
    errors, drops = [], np.zeros((FOLDS, len(names)))
    for fold, (train, test) in enumerate(KFold(FOLDS, shuffle=True, random_state=0).split(x)):
        forest = RandomForestRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=0).fit(
            x[train], y[train]
        )
        error = float(np.mean((forest.predict(x[test]) - y[test]) ** 2))
        shuffled = _shuffled(x[test], owners, names, rng)
        predicted = forest.predict(shuffled.reshape(-1, x.shape[1])).reshape(len(names), REPEATS, len(test))
        drops[fold] = (((predicted - y[test]) ** 2).mean(axis=(1, 2)) - error) / spread
        errors.append(error)
    return 1 - float(np.mean(errors)) / spread, dict(zip(names, drops.T, strict=True))


def _shuffled(x: np.ndarray, owners: list[str], names: list[str], rng: np.random.Generator) -> np.ndarray:
    """(dimensions, repeats, trials, columns): x with one dimension's columns permuted over the trials."""
    copies = np.tile(x, (len(names), REPEATS, 1, 1))
    for i, name in enumerate(names):
        mine = np.array([owner == name for owner in owners])
        for repeat in range(REPEATS):
            copies[i, repeat][:, mine] = x[rng.permutation(len(x))][:, mine]
    return copies


def draw_importance(table: pd.DataFrame) -> dict[str, Any]:
    """Bars grouped by dimension, one per objective, for the dimensions that matter most to some objective."""
    ranked = table.groupby("dimension")["importance"].max().sort_values(ascending=False)
    order = list(ranked.index[:SHOWN])
    kept = table[table["dimension"].isin(order)]
    objectives = list(dict.fromkeys(kept["objective"]))
    shown = kept.assign(label=[metric_of(o).label for o in kept["objective"]], shown=kept["importance"].clip(lower=0))
    labels = [metric_of(o).label for o in objectives]
    bars = alt.Chart(rows(shown)).mark_bar(cornerRadiusEnd=2).encode(
        y=alt.Y("dimension:N", sort=order, title=None, axis=alt.Axis(labelColor=INK)),
        yOffset=alt.YOffset("label:N", sort=labels),
        x=alt.X("shown:Q", title="Loss of R² when shuffled", axis=alt.Axis(format=".2f", tickCount=5)),
        color=alt.Color("label:N", scale=alt.Scale(domain=labels, range=BAR_COLOURS[: len(labels)]), legend=legend(3)),
        tooltip=["dimension:N", "label:N", *(alt.Tooltip(f"{n}:Q", format=".3f") for n in ("importance", "deviation"))],
    )  # fmt: skip
    return finish(bars, height=max(120, (14 * len(labels) + 10) * len(order)))
