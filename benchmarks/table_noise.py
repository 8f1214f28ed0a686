"""Accuracies of a complete table of cells without the luck of single trainings.

Cells that compute the same function were trained each for itself: how they differ is the noise of a training. A class
of them is expected to have what extremely randomised trees, grown on other classes, say of it, and its own mean moves
that as far as the noise lets it (Fay and Herriot, Journal of the American Statistical Association 74, 1979), in every
twentieth of the classes by expected accuracy for itself.
"""

from dataclasses import dataclass

import numpy as np
from sampler_tables import Table, TableSpace
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold, cross_val_predict

from nas.samplers.encoding import Encoding

NOTHING, SAME = "none", "skip_connect"  # operations that pass nothing on, and their input as it is
TREES, FOLDS, BINS = 200, 5, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothed:
    """Arrays (rows,). accuracy: expected without noise, with its deviation. noise: deviation of one training."""

    accuracy: np.ndarray
    deviation: np.ndarray
    noise: np.ndarray


def smoothed(table: Table, seed: int = 0) -> Smoothed:
    functions = [function_of(row, table.edges) for row in table.choices]
    _, first, of = np.unique(functions, return_index=True, return_inverse=True)
    counts = np.bincount(of)
    means = np.bincount(of, table.accuracy) / counts
    expected = _expected(table, first, means, seed)
    bins = np.argsort(np.argsort(expected)) * BINS // len(expected)
    spread = np.bincount(bins[of], (table.accuracy - means[of]) ** 2)  # within classes
    noise = (spread / np.maximum(np.bincount(bins, counts - 1), 1))[bins]
    missed = np.bincount(bins, (means - expected) ** 2 - noise / counts) / np.bincount(bins)
    doubt = np.maximum(missed, 1e-8)[bins]  # variance of what the trees do not see
    weight = doubt / (doubt + noise / counts)
    accuracy = weight * means + (1 - weight) * expected
    return Smoothed(
        accuracy=accuracy[of], deviation=np.sqrt(weight * noise / counts)[of], noise=np.sqrt(noise)[of]
    )  # fmt: skip


def function_of(cell: tuple[str, ...], edges: tuple[tuple[int, int], ...]) -> str:
    """What a cell computes, as a sum of terms; cells with the same text compute the same."""
    terms: dict[int, list[str]] = {0: ["x"]}
    for (source, node), operation in sorted(zip(edges, cell, strict=True), key=lambda e: e[0][1]):
        terms.setdefault(node, [])
        if operation == SAME:
            terms[node] += terms[source]
        elif operation != NOTHING and terms[source]:
            terms[node].append(f"{operation}({'+'.join(sorted(terms[source]))})")
    return "+".join(sorted(terms[max(terms)]))


def _expected(table: Table, places: np.ndarray, means: np.ndarray, seed: int) -> np.ndarray:
    """(classes,) out of fold, from choices, their counts and the costs on all devices."""
    space = TableSpace(table)
    encoding = Encoding(space)
    costs = [{name: float(values[place]) for name, values in table.costs.items()} for place in places]
    rows = [encoding.row(space.code(table.choices[p]), c) for p, c in zip(places, costs, strict=True)]
    trees = ExtraTreesRegressor(TREES, min_samples_leaf=2, max_features=0.5, random_state=seed)
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    return np.asarray(cross_val_predict(trees, np.array(rows), means, cv=folds))
