"""Connection sensitivity (Lee et al., SNIP, ICLR 2019, arXiv 1810.02340; as a score arXiv 2101.08134)."""

from evaluators.zero_cost.base import SCORES
from evaluators.zero_cost.probe import Probe


@SCORES.register("snip")
def snip(probe: Probe) -> float:
    """Σ |W ⊙ ∂L/∂W| over all weights, L the mean cross-entropy over all images."""
    gradients = probe.gradients
    return float(sum((w.detach() * gradients[n]).abs().sum() for n, w in probe.weights.items()))
