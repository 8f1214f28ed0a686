"""Multivariate tree-structured Parzen estimator for several objectives, with pending trials as a constant liar.

Bergstra et al., NeurIPS 2011; Ozaki et al., GECCO 2020 (multi-objective); by Optuna's TPESampler. The study is rebuilt
from the trials on every call: a few milliseconds, and nothing to keep in step with the journal.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.samplers.base import SAMPLERS, Sampler, observed
from nas.trial import Trial

if TYPE_CHECKING:
    from search_spaces.space import Code, Dimension, Space


@SAMPLERS.register("tpe")
class TPESampler(Sampler):
    """Random until `startup` trials are complete. Choices are known to Optuna by their index."""

    def propose(
        self, space: "Space", history: Sequence[Trial], pending: Sequence["Code"], number: int, attempt: int
    ) -> "Code":
        rng = self.rng(number, attempt)
        seen, table = observed(history, self.objectives)
        free = [d for d in space.dimensions if len(d.choices) > 1]
        if len(seen) < self.startup or not free:
            return space.sample(rng)
        distributions = {d.name: _distribution(d) for d in free}
        with _quiet():
            study = self._study(int(rng.integers(2**31)))
            study.add_trials(_frozen_trials(seen, table, self._turned_away(history), pending, free, distributions))
            params = study.ask(fixed_distributions=distributions).params
        code = {d.name: d.choices[params.get(d.name, 0)] for d in space.dimensions}
        return space.repair(code, rng) or space.sample(rng)

    def _study(self, seed: int) -> optuna.Study:
        sampler = optuna.samplers.TPESampler(
            multivariate=True, constant_liar=True, n_startup_trials=self.startup, seed=seed
        )
        return optuna.create_study(directions=["minimize"] * len(self.objectives), sampler=sampler)

    def _turned_away(self, history: Sequence[Trial]) -> list[Trial]:
        """Trials that broke a constraint only a measurement could show: known to be bad, whatever their values."""
        return [t for t in history if t.state == "infeasible"]


def _distribution(dimension: "Dimension") -> BaseDistribution:
    last = len(dimension.choices) - 1
    return IntDistribution(0, last) if dimension.ordered else CategoricalDistribution(range(last + 1))


def _frozen_trials(
    seen: Sequence[Trial],
    table: np.ndarray,
    infeasible: Sequence[Trial],
    pending: Sequence["Code"],
    free: Sequence["Dimension"],
    distributions: dict[str, BaseDistribution],
) -> list[FrozenTrial]:
    """Complete trials with their losses, infeasible ones with the worst loss seen, pending ones without any."""

    def frozen(code: "Code", **known: Any) -> FrozenTrial:
        params = {d.name: d.choices.index(code[d.name]) for d in free}
        return create_trial(params=params, distributions=distributions, **known)

    worst = table.max(axis=0).tolist()
    return [
        *(frozen(t.code, values=row) for t, row in zip(seen, table.tolist(), strict=True)),
        *(frozen(t.code, values=worst) for t in infeasible),
        *(frozen(code, state=TrialState.RUNNING) for code in pending),
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's line per study and its notices about what is experimental."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
