"""Diversity of attention and saliency of the MLPs (Zhou et al., TF-TAS, CVPR 2022, arXiv 2203.12217)."""

import torch
from torch import Tensor

from evaluators.zero_cost.base import SCORES, ScoreFailed
from evaluators.zero_cost.probe import Probe


@SCORES.register("dss")
def dss(probe: Probe) -> float:
    """Σ over mixers of ‖∂R/∂W‖ ‖W‖ in the nuclear norm + Σ over feed-forwards of |W ⊙ ∂R/∂W|, R as in synflow.

    The paper's attention is any token mixer here; a convolution is the matrix of its flattened kernels. Stem,
    down-sampling and head have no part in it.
    """
    mixing = [f for name, f in probe.flow.items() if ".mixer." in name]
    feeding = [f for name, f in probe.flow.items() if ".ffn." in name]
    if not mixing and not feeding:
        raise ScoreFailed("no mixer and no feed-forward with weights")
    diversity = sum(nuclear_norm(f.gradient) * nuclear_norm(f.weight) for f in mixing)
    return float(diversity + sum((f.weight * f.gradient).abs().sum() for f in feeding))


def nuclear_norm(weight: Tensor) -> Tensor:
    """Sum of singular values, as roots of the eigenvalues of the smaller Gram matrix."""
    matrix = weight.flatten(1)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().sum()
