"""Gaussian processes with expected hypervolume improvement over all objectives, as Optuna implements them.

Log-EHVI with one process per objective (Ament et al., NeurIPS 2023, arXiv 2310.20708); running trials are integrated
out.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import optuna

from nas.objective import Objective
from nas.samplers.base import SAMPLERS, Sampler, observed
from nas.samplers.optuna_study import StudyMemory, free_dimensions, quiet
from nas.trial import Trial

if TYPE_CHECKING:
    from search_spaces.space import Code, Space


@SAMPLERS.register("gp")
class GaussianProcessSampler(Sampler):
    """Random until `startup` trials are complete. It knows no costs, and asking takes seconds from 50 trials on."""

    takes = frozenset({"startup"})

    def __init__(self, objectives: Sequence[Objective], seed: int = 0, **settings: Any) -> None:
        super().__init__(objectives, seed, **settings)
        self._memory: StudyMemory | None = None

    def propose(
        self, space: "Space", history: Sequence[Trial], pending: Sequence["Code"], number: int, attempt: int
    ) -> "Code":
        rng, free = self.rng(number, attempt), free_dimensions(space)
        seen, _ = observed(history, self.objectives)
        if len(seen) < self.startup or not free:
            return space.sample(rng)
        with quiet():
            if self._memory is None or self._memory.free != free:
                self._memory = StudyMemory(free, self.objectives)
            self._memory.update(seen)
            process = optuna.samplers.GPSampler(seed=int(rng.integers(2**31)), n_startup_trials=1)
            picked = self._memory.ask(pending, process)
        code = {d.name: d.choices[picked.get(d.name, 0)] for d in space.dimensions}
        valid = space.repair(code, rng) or space.sample(rng)
        return space.mutate(valid, rng) if attempt else valid  # the optimum was refused: something near it
