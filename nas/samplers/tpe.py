"""Multivariate tree-structured Parzen estimator for several objectives, with pending trials as a constant liar.

Bergstra et al., NeurIPS 2011; Ozaki et al., GECCO 2020 (several objectives); as Optuna implements it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import optuna

from nas.samplers.base import SAMPLERS, observed
from nas.samplers.optuna_study import StudySampler, free_dimensions
from nas.trial import Trial

if TYPE_CHECKING:
    from search_spaces.space import Code, Space


@SAMPLERS.register("tpe")
class TPESampler(StudySampler):
    """Random until `startup` trials are complete, then the estimator's choice, repaired where it breaks a rule."""

    def propose(
        self, space: "Space", history: Sequence[Trial], pending: Sequence["Code"], number: int, attempt: int
    ) -> "Code":
        rng = self.rng(number, attempt)
        if len(observed(history, self.objectives)[0]) < self.startup or not free_dimensions(space):
            return space.sample(rng)
        return space.repair(self._chosen(space, history, pending, rng), rng) or space.sample(rng)

    def _optuna(self, seed: int) -> optuna.samplers.TPESampler:
        return optuna.samplers.TPESampler(
            multivariate=True, constant_liar=True, n_startup_trials=self.startup, seed=seed
        )
