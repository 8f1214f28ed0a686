"""Who proposes the next architecture; one file per sampler."""

from nas.samplers import gp, nsga2, pareto, random, regularized_evolution, tpe  # noqa: F401  (they register themselves)
from nas.samplers.base import SAMPLERS, Sampler, make_sampler

__all__ = ["SAMPLERS", "Sampler", "make_sampler"]
