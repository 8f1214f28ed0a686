"""Synaptic flow (Tanaka et al., NeurIPS 2020, arXiv 2006.05467; as a score arXiv 2101.08134)."""

from evaluators.zero_cost.base import SCORES
from evaluators.zero_cost.probe import Probe


@SCORES.register("synflow")
def synflow(probe: Probe) -> float:
    """Σ |W ⊙ ∂R/∂W|, R the summed output for an image of ones when every parameter is its absolute value.

    No data are used. For a chain of linear layers without bias it is the number of layers times R. Norms
    stay: behind a layer norm R does not depend on the scale of W, and the terms cancel but for their absolute value.
    """
    return float(sum((f.weight * f.gradient).abs().sum() for f in probe.flow.values()))
