"""Synaptic flow with logarithms of its gradients (Cavagnero et al., FreeREA, WACV 2023, arXiv 2207.05135)."""

from evaluators.zero_cost.base import SCORES
from evaluators.zero_cost.probe import Probe


@SCORES.register("log_synflow")
def log_synflow(probe: Probe) -> float:
    """Σ |W| ⊙ log(1 + |∂R/∂|W||), R as in synflow: so that no few large gradients decide it."""
    return float(sum((f.weight * f.gradient.abs().log1p()).sum() for f in probe.flow.values()))
