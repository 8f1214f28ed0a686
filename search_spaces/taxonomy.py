"""The five classes of the review of efficient vision transformers (Heidari et al., arXiv 2403.19882), as data.

The class names are the review's; the placement of a mechanism in a class is ours and stands beside the mechanism,
so that it can be corrected in one place.
"""

from dataclasses import dataclass

CLASSES = {
    "complexity reduction": "cheaper attention maps: windows, reordering, channel attention, reduced keys, sparsity",
    "hierarchy": "several scales: pyramids, branches, heads that see different resolutions, stages without attention",
    "channel and spatial": "attention over channels beside attention over positions",
    "tokenization": "other tokens: added, merged, pruned or learned",
    "other": "modulation, convolution, pooling, deformable sampling",
}
BASELINE = "baseline"  # plain softmax attention, which the five classes set out to improve


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Where a mechanism comes from and where it stands. `complexity` is in multiply-accumulates of one layer,
    for N tokens of C channels in h heads."""

    taxonomy: str
    group: str
    paper: str
    arxiv: str
    complexity: str

    def __post_init__(self) -> None:
        assert self.taxonomy in CLASSES or self.taxonomy == BASELINE, self.taxonomy
