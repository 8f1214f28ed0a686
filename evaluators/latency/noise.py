"""The noise ceiling: how well one measurement predicts a second one of the same networks. No predictor can do better.

(A predictor without error, compared with one measurement, meets the noise of one instead of two and may come out a
little above it.)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any

import numpy as np

from evaluators.prediction.scores import Scores, score

FEWEST = 3  # networks in both sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseCeiling:
    """scores: means over all pairs of sessions. networks: in every pair at least."""

    scores: Scores
    networks: int
    sessions: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        s = self.scores
        return (
            f"{s.within_5:.0%} within 5 %, {s.within_10:.0%} within 10 %, RMSPE {s.rmspe:.1f} %, "
            f"Spearman {s.spearman:.3f}, Kendall {s.kendall:.3f} "
            f"({self.networks} networks measured {self.sessions} times)"
        )


def noise_ceiling(sessions: Sequence[Mapping[str, float]]) -> NoiseCeiling:
    """From repeated sessions: name of a network -> its cost. Raises ValueError when there is too little to compare."""
    pairs = list(_pairs(sessions))
    if not pairs:
        raise ValueError(f"a noise ceiling needs two sessions with at least {FEWEST} networks in both")
    found = [score(first, second) for first, second in pairs]
    means = {f.name: float(np.mean([getattr(s, f.name) for s in found])) for f in fields(Scores)}
    return NoiseCeiling(scores=Scores(**means), networks=min(len(p[0]) for p in pairs), sessions=len(sessions))


def _pairs(sessions: Sequence[Mapping[str, float]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first, second in combinations(sessions, 2):
        names = [name for name in first if name in second]
        if len(names) >= FEWEST:
            yield np.array([first[n] for n in names]), np.array([second[n] for n in names])
