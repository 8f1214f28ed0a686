"""Do the heads of a network differ: measures, the labels each head recognises, and a training penalty."""

from evaluators.head_diversity.analysis import LayerHeads, measure_heads
from evaluators.head_diversity.penalty import HeadPenalty

__all__ = ["HeadPenalty", "LayerHeads", "measure_heads"]
