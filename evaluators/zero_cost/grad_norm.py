"""Norm of the gradient (Abdelfattah et al., ICLR 2021, arXiv 2101.08134)."""

from evaluators.zero_cost.base import SCORES
from evaluators.zero_cost.probe import Probe


@SCORES.register("grad_norm")
def grad_norm(probe: Probe) -> float:
    """Σ over layers of ‖∂L/∂W‖₂, L the mean cross-entropy over all images."""
    return float(sum(gradient.norm() for gradient in probe.gradients.values()))
