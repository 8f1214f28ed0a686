"""Fronts, hypervolume and the knee, on arrays of losses (trials, objectives) whose every column is minimised."""

import moocore
import numpy as np

ENOUGH_FOR_QUARTILES = 8


def front_indices(losses: np.ndarray) -> np.ndarray:
    """Indices of the non-dominated rows in their order; of equal rows the first one."""
    table = _checked(losses)
    if not len(table):
        return np.empty(0, dtype=int)
    return np.flatnonzero(moocore.is_nondominated(table))


def ranks(losses: np.ndarray) -> np.ndarray:
    """The non-dominated front of each row, 0 for the best; equal rows share a rank."""
    table = _checked(losses)
    return np.asarray(moocore.pareto_rank(table), dtype=int) if len(table) else np.empty(0, dtype=int)


def hypervolume(losses: np.ndarray, reference: np.ndarray) -> float:
    """Volume dominated by the rows and bounded by `reference`; a row beyond the reference adds nothing."""
    table = _checked(losses)
    return float(moocore.hypervolume(table, ref=np.asarray(reference, dtype=float))) if len(table) else 0.0


def contributions(losses: np.ndarray) -> np.ndarray:
    """(rows,) the volume that each row alone adds, bounded by `reference_point`; equal rows add nothing."""
    table = _checked(losses)
    if not len(table):
        return np.zeros(0)
    return np.asarray(moocore.hv_contributions(table, ref=reference_point(table)), dtype=float)


def hypervolume_history(losses: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(trials,) hypervolume after each row, in the order in which the rows were found."""
    table = _checked(losses)
    history = np.zeros(len(table))
    front = table[:0]
    for i, row in enumerate(table):
        if len(front) and (front <= row).all(axis=1).any():
            history[i] = history[i - 1]
            continue
        front = np.vstack([front[~(row <= front).all(axis=1)], row])
        history[i] = hypervolume(front, reference)
    return history


def reference_point(losses: np.ndarray) -> np.ndarray:
    """(objectives,) the worst value that counts plus a tenth of the range (of its size if constant).

    What counts is every member of the front and every row that is not far out, see `worst_inlier`: a network that
    failed to learn would otherwise dwarf all later progress.
    """
    table = _checked(losses)
    if not len(table):
        raise ValueError("a reference point needs at least one row")
    front = table[front_indices(table)]
    worst = front.max(axis=0) if len(front) == len(table) else np.maximum(worst_inlier(table), front.max(axis=0))
    span = worst - table.min(axis=0)
    size = np.where(worst == 0, 1.0, np.abs(worst))
    return worst + 0.1 * np.where(span > 0, span, size)


def worst_inlier(losses: np.ndarray) -> np.ndarray:
    """(objectives,) the worst value of each column that is not "far out" (Tukey, Exploratory Data Analysis, 1977).

    Far out is more than three interquartile ranges above the upper quartile. Fewer than eight rows, or a column whose
    middle half is constant, tell too little about that: there the plain worst counts.
    """
    table = _checked(losses)
    if not len(table):
        raise ValueError("the worst value needs at least one row")
    lower, upper = np.quantile(table, [0.25, 0.75], axis=0)
    fence = np.where((upper > lower) & (len(table) >= ENOUGH_FOR_QUARTILES), upper + 3 * (upper - lower), np.inf)
    return np.where(table <= fence, table, -np.inf).max(axis=0)


def knee_index(losses: np.ndarray) -> int:
    """The best compromise: the front member farthest below the plane through the best row of each objective.

    Columns are first scaled to 0..1 over the front (Das, "On characterizing the knee of the Pareto curve", 1999).
    With one objective it is the minimum. Ties, such as a front of two, go to the member nearest the ideal point.
    """
    table = _checked(losses)
    front = front_indices(table)
    if not len(front):
        raise ValueError("a knee needs at least one row")
    scaled = _unit_scale(table[front])
    normal = _plane_normal(scaled)
    depth = np.round((1 - scaled @ normal) / np.linalg.norm(normal), 12)
    to_ideal = np.round(np.linalg.norm(scaled, axis=1), 12)
    return int(front[np.lexsort((to_ideal, -depth))[0]])


def crowding(losses: np.ndarray) -> np.ndarray:
    """Crowding distance of each row among all rows (Deb et al., NSGA-II, IEEE TEVC 2002); infinite at the extremes."""
    table = _checked(losses)
    distance = np.zeros(len(table))
    for column in table.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        if not len(order) or ordered[0] == ordered[-1]:
            continue
        distance[order[[0, -1]]] = np.inf
        distance[order[1:-1]] += (ordered[2:] - ordered[:-2]) / (ordered[-1] - ordered[0])
    return distance


def _checked(losses: np.ndarray) -> np.ndarray:
    table = np.asarray(losses, dtype=float)
    if table.ndim != 2:
        raise ValueError(f"losses must be (trials, objectives), found shape {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("losses must be finite; leave out the rows that were not measured")
    return table


def _unit_scale(table: np.ndarray) -> np.ndarray:
    low = table.min(axis=0)
    span = table.max(axis=0) - low
    return (table - low) / np.where(span > 0, span, 1.0)


def _plane_normal(scaled: np.ndarray) -> np.ndarray:
    """n with n·x = 1 on the plane through the extremes; equal weights when they span no plane that faces the origin."""
    equal = np.ones(scaled.shape[1])
    extremes = scaled[np.argmin(scaled, axis=0)]
    if np.linalg.matrix_rank(extremes) < len(extremes):
        return equal
    normal = np.linalg.solve(extremes, equal)
    return normal if (normal > 0).all() else equal
