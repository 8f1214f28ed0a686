"""Random search (Bergstra and Bengio, JMLR 2012): valid architectures drawn without looking at what was found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.samplers.base import SAMPLERS, Sampler
from nas.trial import Trial

if TYPE_CHECKING:
    from search_spaces.space import Code, Space


@SAMPLERS.register("random")
class RandomSampler(Sampler):
    """Draws from the space; the baseline that every other sampler has to beat."""

    takes = frozenset[str]()

    def propose(
        self, space: "Space", history: Sequence[Trial], pending: Sequence["Code"], number: int, attempt: int
    ) -> "Code":
        return space.sample(self.rng(number, attempt))
