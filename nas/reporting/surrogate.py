"""A run as its sampler would see it: networks of the space and models, made once for all that a page says of them."""

from functools import cached_property

from nas.reporting.pool import pool_of
from nas.run import Run
from nas.samplers.candidates import Pool
from nas.samplers.judge import Model, models_of
from nas.trial import Trial

WIDE = 4.0  # in place of the sampler's limit FAR: a search need not know how poor a poor network is


class Surrogate:
    """Each part is made when it is first asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @cached_property
    def pool(self) -> Pool | None:
        """None where the space cannot be made any more."""
        return pool_of(self._run)

    @cached_property
    def history(self) -> list[Trial]:
        """Trials that have ended or wait, of networks that the space still knows."""
        return [t for t in self._run.searched() if t.state != "running" and self._knows(t)]

    @cached_property
    def complete(self) -> list[Trial]:
        return [t for t in self._run.complete() if self._knows(t)]

    @cached_property
    def models(self) -> dict[str, Model]:
        """Of what only trials tell, as the sampler has them: they know the good networks."""
        assert self.pool is not None
        return models_of(self.pool, self._run.campaign.objective_list, self.history, self.pool.seed)

    @cached_property
    def wide_models(self) -> dict[str, Model]:
        """The same for statements about random networks, most of which are poor."""
        assert self.pool is not None
        return models_of(self.pool, self._run.campaign.objective_list, self.history, self.pool.seed, WIDE)

    def _knows(self, trial: Trial) -> bool:
        return self.pool is not None and self.pool.encoding.knows(trial.code)
