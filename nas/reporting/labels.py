"""Where the names of points go so that no two of them overlap: greedy, in order of importance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

LETTER, LINE, GAP = 6.6, 13.0, 9.0  # pixels: a letter's width, a line's height, from a point to its label


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Where a label stands relative to its point, in Vega's words."""

    dx: float
    dy: float
    align: str


SIDES = {
    "right": Side(dx=GAP, dy=0, align="left"),
    "above": Side(dx=0, dy=-GAP - 4, align="center"),
    "left": Side(dx=-GAP, dy=0, align="right"),
    "below": Side(dx=0, dy=GAP + 4, align="center"),
    "high right": Side(dx=GAP - 2, dy=-GAP - 2, align="left"),
    "low right": Side(dx=GAP - 2, dy=GAP + 2, align="left"),
    "high left": Side(dx=-GAP + 2, dy=-GAP - 2, align="right"),
    "low left": Side(dx=-GAP + 2, dy=GAP + 2, align="right"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotArea:
    """A drawing area in pixels, downwards from the upper left, and the values at its edges."""

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    log_x: bool = False
    log_y: bool = False

    def pixels(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(n, 2) positions of n points."""
        across, up = _share(x, self.x, self.log_x), _share(y, self.y, self.log_y)
        return np.column_stack([across * self.width, (1 - up) * self.height])


def _share(values: np.ndarray, domain: tuple[float, float], log: bool) -> np.ndarray:
    low, high = (math.log(v) for v in domain) if log else domain
    return ((np.log(values) if log else values) - low) / (high - low)


def along(lines: Sequence[np.ndarray], step: float = 5.0) -> np.ndarray:
    """Points every few pixels along polylines of shape (n, 2), so that a line can be an obstacle."""
    found = [np.empty((0, 2))]
    for line in lines:
        for start, end in pairwise(line):
            count = max(2, math.ceil(float(np.abs(end - start).max()) / step))
            found.append(np.linspace(start, end, count))
    return np.concatenate(found)


def around(points: np.ndarray, radius: float = 6.0) -> np.ndarray:
    """Points on the rim of a mark of that radius in pixels, so that a large mark is an obstacle as a whole."""
    angles = np.arange(8) * np.pi / 4
    rim = radius * np.column_stack([np.cos(angles), np.sin(angles)])
    return (points[:, None, :] + rim).reshape(-1, 2)


def place_labels(
    points: np.ndarray, texts: Sequence[str], obstacles: np.ndarray, area: PlotArea, choices: Sequence[Sequence[str]]
) -> list[str | None]:
    """A side for each label, most important first, or None where every choice hides another label or leaves the chart.

    points (n, 2) and obstacles (m, 2) in pixels; among free sides the one that covers the fewest obstacles wins.
    """
    taken: list[np.ndarray] = []
    sides: list[str | None] = []
    for point, text, names in zip(points, texts, choices, strict=True):
        boxes = {name: label_box(point, text, SIDES[name]) for name in names}
        free = [n for n, box in boxes.items() if _inside(box, area) and not any(overlap(box, other) for other in taken)]
        best = min(free, key=lambda n: (_covered(boxes[n], obstacles), names.index(n)), default=None)
        sides.append(best)
        if best is not None:
            taken.append(boxes[best])
    return sides


def label_box(point: np.ndarray, text: str, side: Side) -> np.ndarray:
    """(left, top, right, bottom) in pixels."""
    width = LETTER * len(text)
    left = point[0] + side.dx - {"left": 0.0, "center": width / 2, "right": width}[side.align]
    middle = point[1] + side.dy
    return np.array([left, middle - LINE / 2, left + width, middle + LINE / 2])


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def _inside(box: np.ndarray, area: PlotArea) -> bool:
    return bool(box[0] >= 0 and box[1] >= -LINE / 2 and box[2] <= area.width and box[3] <= area.height)


def _covered(box: np.ndarray, points: np.ndarray) -> int:
    """How many points, with a margin of two pixels, lie under the box."""
    if not len(points):
        return 0
    x, y = points[:, 0], points[:, 1]
    return int(((x > box[0] - 2) & (x < box[2] + 2) & (y > box[1] - 2) & (y < box[3] + 2)).sum())
