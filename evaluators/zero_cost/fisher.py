"""Fisher information of channels (Theis et al., arXiv 1801.05787; Turner et al., BlockSwap, ICLR 2020, arXiv
1906.04113; as a score arXiv 2101.08134)."""

from statistics import fmean

from evaluators.zero_cost.base import SCORES
from evaluators.zero_cost.probe import Probe


@SCORES.register("fisher")
def fisher(probe: Probe) -> float:
    """Σ over channels of ½ mean over images of (Σ over places of a ∂L/∂a)², a the channel's output.

    Channels of all linear layers and convolutions that are called as such; the places of a vision transformer are its
    tokens. A projection that a mechanism slices (keys of reduced tokens) is not seen.
    """
    return fmean(slope.fisher for slope in probe.slopes)
