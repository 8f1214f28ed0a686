"""How much each dimension of the space tells about an objective: permutation importance of a random forest.

Breiman, "Random Forests", Machine Learning 45 (2001). Measured on held-out folds, so that a forest that has only
memorised the trials shows no importance. A dimension that has no effect on a trial takes the value "inactive".
Intervals hold what other trials and another forest would change (Molnar et al., xAI 2023, arXiv 2109.01433): folds
share most of their trials, for which the variance of the mean is corrected (Nadeau, Bengio, Machine Learning 52, 2003).
"""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from scipy import stats

from nas.objective import metric_of
from nas.reporting.tables import active_codes
from nas.reporting.theme import INK, finish, legend, rows
from nas.run import Run

ENOUGH, SHOWN = 20, 12  # trials needed; dimensions drawn
FOLDS, ROUNDS, REPEATS, TREES = 5, 3, 4, 50  # folds of a round, rounds, shuffles of a fold, trees of a forest
CONFIDENCE = 0.9
BAR_COLOURS, PALE = ["#0072B2", "#E69F00", "#009E73"], "#d3dae1"
COLUMNS = ["objective", "dimension", "importance", "low", "high", "matters", "r2", "trials"]


def importance_table(run: Run) -> pd.DataFrame:
    """Per objective and dimension: the loss of R² when it is shuffled, and its 90 % interval.

    matters: whether the interval lies above zero. `r2` is the held-out R² of the forest; an objective that the forest
    cannot predict (R² <= 0) is left out.
    """
    codes = active_codes(run)
    trials = [t for t in run.complete() if t.number in codes]
    if len(trials) < ENOUGH:
        return pd.DataFrame(columns=COLUMNS)
    x, owners = encode([codes[t.number] for t in trials])
    found = []
    for objective in run.campaign.objective_list:
        y = np.array([t.values[objective.name] for t in trials])
        r2, drops = held_out_importance(x, owners, y)
        if r2 > 0:
            for dimension, dropped in drops.items():
                values = np.round(dropped, 9)  # what no forest looks at drops by the last digits of a sum
                low, high = interval_of_mean(values, 1 / (FOLDS - 1))
                found.append((objective.name, dimension, values.mean(), low, high, low > 0, r2, len(trials)))
    return pd.DataFrame(found, columns=COLUMNS)


def interval_of_mean(values: np.ndarray, ratio: float) -> tuple[float, float]:
    """90 % interval of a mean over held-out parts, which share trials; ratio: of held-out trials to those fitted to."""
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * np.sqrt((1 / len(values) + ratio) * values.var(ddof=1))
    return float(values.mean() - half), float(values.mean() + half)


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
    from sklearn.model_selection import RepeatedKFold

    spread = float(np.var(y))
    if not owners or spread == 0:
        return 0.0, {}
    rng = np.random.default_rng(0)  # the same page from the same run
    names = list(dict.fromkeys(owners))
    errors, drops = [], np.zeros((ROUNDS * FOLDS, len(names)))
    splits = RepeatedKFold(n_splits=FOLDS, n_repeats=ROUNDS, random_state=0).split(x)
    for fold, (train, test) in enumerate(splits):
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
    """Bars with intervals by dimension, one per objective, the strongest first, pale and last what may be nothing."""
    ranked = table.groupby("dimension")[["matters", "importance"]].max()
    order = list(ranked.sort_values(["matters", "importance"], ascending=False).index[:SHOWN])
    kept = table[table["dimension"].isin(order)]
    shown = kept.assign(label=[metric_of(o).label for o in kept["objective"]], shown=kept["importance"].clip(lower=0))
    labels = list(dict.fromkeys(shown["label"]))
    colour = alt.Color("label:N", scale=alt.Scale(domain=labels, range=BAR_COLOURS[: len(labels)]), legend=legend(3))
    axis, told = alt.Axis(format=".2f", tickCount=5), ("importance", "low", "high")
    base = alt.Chart().encode(
        y=alt.Y("dimension:N", sort=order, title=None, axis=alt.Axis(labelColor=INK)),
        yOffset=alt.YOffset("label:N", sort=labels),
        tooltip=["dimension:N", "label:N", *(alt.Tooltip(f"{n}:Q", format=".3f") for n in told)],
    )  # fmt: skip
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        x=alt.X("shown:Q", title="Loss of R² when shuffled", axis=axis),
        color=alt.condition("datum.matters", colour, alt.value(PALE)),
    )
    whiskers = base.mark_rule(color=INK, strokeWidth=1.2).encode(x=alt.X("low:Q", axis=axis), x2="high:Q")
    height = max(120, (14 * len(labels) + 10) * len(order))
    return finish(alt.layer(bars, whiskers, data=rows(shown)), height=height)
