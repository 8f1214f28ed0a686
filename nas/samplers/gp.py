"""Gaussian processes with expected hypervolume improvement over all objectives, as Optuna implements them.

Log-EHVI with one process per objective (Ament et al., NeurIPS 2023, arXiv 2310.20708); running trials are integrated
out.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import optuna

from nas.samplers.base import SAMPLERS, observed
from nas.samplers.optuna_study import StudySampler, free_dimensions
from nas.trial import Trial

if TYPE_CHECKING:
    from search_spaces.space import Code, Space


@SAMPLERS.register("gp")
class GaussianProcessSampler(StudySampler):
    """Random until `startup` trials are complete. It knows no costs, and asking takes seconds from 50 trials on."""

    def propose(
        self, space: "Space", history: Sequence[Trial], pending: Sequence["Code"], number: int, attempt: int
    ) -> "Code":
        rng = self.rng(number, attempt)
        seen, _ = observed(history, self.objectives)
        if len(seen) < self.startup or not free_dimensions(space):
            return space.sample(rng)
        code = self._chosen(space, seen, pending, rng)
        valid = space.repair(code, rng) or space.sample(rng)
        return space.mutate(valid, rng) if attempt else valid  # the optimum was refused: something near it

    def _optuna(self, seed: int) -> optuna.samplers.GPSampler:
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)
