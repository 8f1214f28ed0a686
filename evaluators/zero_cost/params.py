"""Parameters in millions: the first baseline of every score."""

from evaluators.zero_cost.base import SCORES
from evaluators.zero_cost.probe import Probe


@SCORES.register("params")
def params(probe: Probe) -> float:
    """From the genotype's closed forms; nothing is built."""
    return probe.subject.params_m
