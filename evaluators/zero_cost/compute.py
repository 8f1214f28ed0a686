"""compute_scores: all scores of one network, each with its time; what fails is absent, with its reason."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from evaluators.zero_cost.base import SCORES, Batch, ScoreFailed, Subject
from evaluators.zero_cost.probe import Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreResult:
    """By name: values, reasons of those that have none, and seconds that each would have taken alone."""

    values: dict[str, float]
    errors: dict[str, str]
    seconds: dict[str, float]


def compute_scores(
    subject: Subject,
    batches: Sequence[Batch],
    names: Iterable[str] | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> ScoreResult:
    """The named scores, or all, of a network on mini-batches of one size. seed: of weights and noise.

    Higher is better for every score. The same arguments give the same values. Raises UserError for an unknown name.
    """
    chosen = {name: SCORES[name] for name in (SCORES if names is None else names)}
    probe = Probe(subject, batches, seed=seed, device=device)
    values: dict[str, float] = {}
    errors: dict[str, str] = {}
    for name, score in chosen.items():
        try:
            with probe.shared.timing(f"score {name}"):
                values[name] = _finite(score(probe))
        except Exception as error:
            errors[name] = reason_of(error)
    seconds = {name: probe.shared.seconds(f"score {name}") for name in values}
    return ScoreResult(values=values, errors=errors, seconds=seconds)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ScoreFailed(f"is {value}")
    return value


def reason_of(error: Exception) -> str:
    """One line."""
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return first if isinstance(error, ScoreFailed) else f"{type(error).__name__}: {first}"
