"""The contract of a sampler: it holds no state, so that a resumed campaign proposes what an uninterrupted one would."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from nas.objective import Constraint, Objective, losses
from nas.registry import Registry
from nas.trial import Expectation, Trial

if TYPE_CHECKING:
    from search_spaces.space import Code, Space

SAMPLERS: "Registry[type[Sampler]]" = Registry("sampler")
NINETY = 2 * 1.6449  # width of a 90 % interval in standard deviations
_STREAM = 0x5A  # keeps a sampler's randomness apart from others drawn from the same seed


def _nothing(genotype: Any) -> Mapping[str, Any]:
    return {}


def _none(history: Sequence[Trial]) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """What is known of a network before its trial.

    costs: metrics, exact or predicted. intervals: of those that are predicted, the interval that holds 90 % of
    measurements. expect: told of many networks before their costs are asked for. constraints: of the campaign.
    pictures: of the validation split, that accuracies are counted on. published: gives codes of networks of the
    literature. scores: zero-cost scores of a network. believed: which of them the trials have borne out. shortlist: for
    how many networks a proposal may ask for them.
    """

    costs: Callable[[Any], Mapping[str, float]] = _nothing
    intervals: Callable[[Any], Mapping[str, tuple[float, float]]] = _nothing
    expect: Callable[[Sequence[Any]], object] = _nothing
    constraints: tuple[Constraint, ...] = ()
    pictures: int | None = None
    published: "Callable[[], tuple[Code, ...]]" = tuple
    scores: Callable[[Any], Mapping[str, float]] = _nothing
    believed: Callable[[Sequence[Trial]], tuple[str, ...]] = _none
    shortlist: int = 0

    def spreads(self, genotype: Any) -> dict[str, float]:
        """Standard deviations of the logarithms of the predicted costs."""
        return {name: log_deviation(low, high) for name, (low, high) in self.intervals(genotype).items()}


def log_deviation(low: float, high: float) -> float:
    """Standard deviation of the logarithm of a positive number whose 90 % interval is given."""
    return math.log(high / low) / NINETY if 0 < low < high else 0.0


class Sampler(ABC):
    """Proposes codes. Same arguments, same answer: all randomness comes from (seed, number, attempt).

    startup: random trials before anything is inferred. population: parents of an evolutionary sampler.
    knowledge: what a campaign knows of its candidates; a sampler may ignore it. takes: what has an effect.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"startup", "population"})
    knowledge = Knowledge()

    def __init__(
        self, objectives: Sequence[Objective], seed: int = 0, *, startup: int = 12, population: int = 16
    ) -> None:
        self.objectives, self.seed = tuple(objectives), seed
        self.startup, self.population = startup, population

    @abstractmethod
    def propose(
        self,
        space: "Space",
        history: Sequence[Trial],
        pending: Sequence["Code"],
        number: int,
        attempt: int,
    ) -> "Code":
        """The code of trial `number`; `attempt` counts the proposals for it that were refused.

        history: finished search trials, complete or not. pending: codes of the trials that are running.
        """

    def expectation(
        self, space: "Space", history: Sequence[Trial], pending: Sequence["Code"], code: "Code"
    ) -> dict[str, Expectation]:
        """Metric -> what a trial of `code` will find.

        Asked beside `propose` with the same history and pending, and recorded, so that the report can say how far the
        sampler is to be believed. Empty for a sampler, or at a time, without a model.
        """
        return {}

    def rng(self, number: int, attempt: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, number, attempt, _STREAM))


def make_sampler(name: str, objectives: Sequence[Objective], seed: int = 0, **settings: Any) -> Sampler:
    """A sampler by name; settings are `startup` and `population`."""
    return SAMPLERS[name](objectives, seed, **settings)


def observed(history: Sequence[Trial], objectives: Sequence[Objective]) -> tuple[list[Trial], np.ndarray]:
    """The trials with every objective measured, and their losses (trials, objectives)."""
    seen = [t for t in history if t.state == "complete" and _measured(t, objectives)]
    return seen, losses([t.values for t in seen], tuple(objectives))


def _measured(trial: Trial, objectives: Sequence[Objective]) -> bool:
    return all(math.isfinite(trial.values.get(o.name, math.nan)) for o in objectives)
