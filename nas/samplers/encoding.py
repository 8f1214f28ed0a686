"""A code as a row of numbers: its active choices, how often each mechanism occurs, its costs on a log scale.

Inactive dimensions are neutral, so that codes of one network give one row. Columns that say one thing together form a
group, and every group has variance 1 over networks drawn from the space.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from search_spaces.space import Code, Dimension, Space

SMALLEST = 1e-9  # a cost may be 0, its logarithm not


class Encoding:
    """Raw rows have a column per number or per kind of mechanism, then the summaries, then the logarithms of costs."""

    def __init__(self, space: "Space") -> None:
        self.space = space
        self._free = {d.name: d for d in space.dimensions if len(d.choices) > 1}
        self._columns: dict[tuple[str, str], int] = {}
        self._groups: list[str] = []
        shared = _shared_kinds(list(self._free.values()))
        self._says = {d.name: {c: self._entries(d, c, shared) for c in d.choices} for d in self._free.values()}
        self._means = [i for (group, _), i in self._columns.items() if group.startswith("mean ")]

    def _entries(self, dimension: "Dimension", choice: Any, shared: set[str]) -> list[tuple[int, float]]:
        """Columns and what this choice adds to them."""
        place = _place(dimension.choices, choice)
        if dimension.ordered:
            mean = f"mean {_family(dimension)}"
            return [(self._column(dimension.name, ""), place), (self._column(mean, ""), place)]
        kind = kind_of(choice)
        said = [(self._column(dimension.name, kind), 1.0)]
        if kind in shared:
            variants = [c for c in dimension.choices if kind_of(c) == kind]
            said += [(self._column("counts", kind), 1.0), (self._column("variants", kind), _place(variants, choice))]
        return said

    def _column(self, group: str, label: str) -> int:
        if (group, label) not in self._columns:
            self._columns[group, label] = len(self._columns)
            self._groups.append(group)
        return self._columns[group, label]

    def knows(self, code: Mapping[str, Any]) -> bool:
        """Whether a code is one of this space: a record may come from another version of it."""
        return all(d.name in code and code[d.name] in d.choices for d in self.space.dimensions)

    def row(self, code: "Code", costs: Mapping[str, float]) -> np.ndarray:
        """(f,) raw numbers; costs in the order of their names."""
        found, times = [0.0] * len(self._columns), [0] * len(self._columns)  # lists: a few entries are touched
        for name in self.space.active(code) & self._says.keys():
            for column, value in self._says[name][code[name]]:
                found[column] += value
                times[column] += 1
        for column in self._means:
            found[column] /= max(times[column], 1)
        return np.array(found + [math.log(max(costs[name], SMALLEST)) for name in sorted(costs)])

    def groups(self, costs: int) -> np.ndarray:
        """(f,) number of each column's group, with that many costs at the end."""
        names = [*self._groups, *(f"cost {i}" for i in range(costs))]
        places = {name: i for i, name in enumerate(dict.fromkeys(names))}
        return np.array([places[name] for name in names], dtype=int)


class Scale:
    """Shifts columns to mean 0 and groups to variance 1 over some rows; a group constant there keeps its size."""

    def __init__(self, rows: np.ndarray, groups: np.ndarray) -> None:
        self._mean = rows.mean(axis=0)
        total = np.sqrt(np.bincount(groups, weights=rows.var(axis=0)))
        self._size = np.where(total > SMALLEST, total, 1.0)[groups]

    def apply(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self._mean) / self._size


def kind_of(choice: Any) -> str:
    """`window` of `window(divisions=2)`: the mechanism without its parameters."""
    return str(choice).partition("(")[0]


def _family(dimension: "Dimension") -> str:
    """`width` of `stage1.width`, `size` of `size3`: numbers that mean the same in different places."""
    return dimension.name.rpartition(".")[2].rstrip("0123456789")


def _shared_kinds(dimensions: Sequence["Dimension"]) -> set[str]:
    """Kinds that two dimensions or more can take."""
    counts = Counter(kind for d in dimensions if not d.ordered for kind in {kind_of(c) for c in d.choices})
    return {kind for kind, count in counts.items() if count > 1}


def _place(choices: Sequence[Any], choice: Any) -> float:
    """-0.5 for the first choice to 0.5 for the last."""
    return choices.index(choice) / (len(choices) - 1) - 0.5 if len(choices) > 1 else 0.0
