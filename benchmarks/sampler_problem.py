"""What a sampler is tried on: a finite number of networks whose losses are all known."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from functools import cached_property
from typing import Any

import numpy as np

from nas.objective import Objective, losses
from nas.pareto import front_indices, hypervolume
from search_spaces.space import Code, Space

ACCURACY = Objective(name="accuracy", direction="maximize")


class Problem(ABC):
    """Rows are numbered. table, device: their names in the log. cost: the metric beside accuracy.

    space: what our samplers search; its samples and children are rows. whole: what is told of networks that may be no
    rows, as peers see it. pictures: that accuracies were counted on, where that is known.
    """

    table: str
    device: str
    cost: str
    space: Space
    whole: Space
    pictures: int | None = None

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return ACCURACY, Objective(name=self.cost, direction="minimize")

    @property
    @abstractmethod
    def size(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def settle(self, code: Code, tried: Collection[int]) -> int:
        """The row that stands for what was proposed."""

    @abstractmethod
    def code(self, place: int) -> Code: ...

    @abstractmethod
    def network(self, place: int) -> Any: ...

    @abstractmethod
    def costs(self, network: Any) -> dict[str, float]:
        """What is known of a network before its trial."""

    @abstractmethod
    def accuracy(self, place: int) -> float: ...

    @cached_property
    @abstractmethod
    def reference(self) -> np.ndarray:
        """(2,) losses that bound the hypervolume."""

    def values(self, place: int) -> dict[str, float]:
        return {**self.costs(self.network(place)), "accuracy": self.accuracy(place)}

    @cached_property
    def losses(self) -> np.ndarray:
        """(rows, 2)"""
        return losses([self.values(place) for place in range(self.size)], self.objectives)

    @cached_property
    def front_size(self) -> int:
        return len(front_indices(self.losses))

    def share(self, places: list[int]) -> float:
        """Of the true hypervolume, reached by some rows."""
        return hypervolume(self.losses[places], self.reference) / self._whole_volume

    @cached_property
    def _whole_volume(self) -> float:
        return hypervolume(self.losses, self.reference)
