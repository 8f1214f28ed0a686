"""A learner for a new device that leans on learners of other devices: see `few_shot`."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from evaluators.prediction.base import Prediction
from evaluators.prediction.few_shot import FewShot
from evaluators.prediction.stack import StackedRegression

FORMAT = 1
FEWEST_ROWS = 3  # fewer tell its level, but not which networks are slower on it


class TransferredRegression:
    """A `Learner` for about ten rows. usual: (n, f) networks that say what is usual, none of them measured."""

    def __init__(self, sources: Mapping[str, StackedRegression], usual: np.ndarray) -> None:
        if not sources:
            raise ValueError("no known device to learn from; give at least one")
        self._sources, self._usual = dict(sources), np.asarray(usual, dtype=float)
        self._few = FewShot.of(self._costs(self._usual), self._usual)

    def choose(self, x: np.ndarray, count: int) -> list[int]:
        """Which rows of x: (n, f) to measure on the new device, most telling first."""
        return self._few.choose(self._costs(x), x, count)

    def fit(self, x: np.ndarray, y: np.ndarray) -> Self:
        """x: (n, f), y: (n,) costs above 0 on the new device; ten are good."""
        if len(y) < FEWEST_ROWS:
            raise ValueError(f"{len(y)} measurements of a new device are too few; give at least {FEWEST_ROWS}")
        if not (np.isfinite(y).all() and (y > 0).all()):
            raise ValueError("costs must be finite numbers above 0")
        self._x, self._y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        self._few.fit(self._costs(self._x), self._x, self._y)
        return self

    def predict(self, x: np.ndarray) -> Prediction:
        """Costs on the new device of rows x: (n, f), with 90 % intervals."""
        return self._few.predict(self._costs(x), np.asarray(x, dtype=float))

    def to_json(self) -> dict[str, Any]:
        sources = {name: source.to_json() for name, source in self._sources.items()}
        rows = {"x": self._x.tolist(), "y": self._y.tolist(), "usual": self._usual.tolist()}
        return {"format": FORMAT, "sources": sources, **rows}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The same predictor, solved again from the rows."""
        if data.get("format") != FORMAT:
            raise ValueError(f"predictor: format {data.get('format')!r} is unknown; this version reads {FORMAT}")
        try:
            sources = {name: StackedRegression.from_json(source) for name, source in data["sources"].items()}
            return cls(sources, np.asarray(data["usual"])).fit(np.asarray(data["x"]), np.asarray(data["y"]))
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"predictor: the file is damaged at {error}; make it again") from error

    def _costs(self, x: np.ndarray) -> np.ndarray:
        """(n, d) costs on the known devices."""
        return np.column_stack([source.predict(x).mean for source in self._sources.values()])
