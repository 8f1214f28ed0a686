"""Mean over deviation of gradients (Li et al., ZiCo, ICLR 2023, arXiv 2301.11300)."""

import torch
from torch import Tensor

from evaluators.zero_cost.base import SCORES, ScoreFailed
from evaluators.zero_cost.probe import Probe


@SCORES.register("zico")
def zico(probe: Probe) -> float:
    """Σ over layers of log Σ over weights of E|g| / √Var|g|, over the gradients g of single mini-batches.

    Two mini-batches are the least and what the authors use. Weights whose gradient does not vary are left out, and so
    is a layer of nothing else. A sum of one logarithm per layer rises with depth: look at it given depth.
    """
    if len(probe.slopes) < 2:
        raise ScoreFailed("needs at least two mini-batches")
    ratios = [_ratio([slope.gradients[n].abs() for slope in probe.slopes]) for n in probe.weights]
    return float(sum(ratio.log() for ratio in ratios if ratio > 0))


def _ratio(sizes: list[Tensor]) -> Tensor:
    """Of one weight's gradients by mini-batch, the sum over its entries of mean / deviation."""
    mean = sum(sizes[1:], start=sizes[0]) / len(sizes)
    variance = sum(((size - mean).square() for size in sizes), start=torch.zeros_like(mean)) / len(sizes)
    return torch.where(variance > 0, mean * variance.rsqrt(), 0.0).sum(dtype=torch.float64)
