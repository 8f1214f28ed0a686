"""Multiply-accumulates of one image, in 10⁹: the second baseline."""

from evaluators.zero_cost.base import SCORES
from evaluators.zero_cost.probe import Probe


@SCORES.register("macs")
def macs(probe: Probe) -> float:
    """From the genotype's closed forms; nothing is built."""
    return probe.subject.macs_g
