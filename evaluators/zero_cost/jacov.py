"""Covariance of Jacobians (Mellor et al., arXiv 2006.04647 version 1; Abdelfattah et al., ICLR 2021, arXiv
2101.08134)."""

import torch

from evaluators.zero_cost.base import SCORES, ScoreFailed
from evaluators.zero_cost.probe import Probe

EPSILON = 1e-5  # of the paper


@SCORES.register("jacov")
def jacov(probe: Probe) -> float:
    """-Σ (log(v + ε) + 1 / (v + ε)), v the eigenvalues of the correlations between the images' Jacobians.

    The Jacobian of an image is the gradient of its summed logits; it is high where images pull in different directions.
    """
    images = probe.images.detach().clone().requires_grad_()
    with probe.lent() as network:
        (jacobians,) = torch.autograd.grad(network(images).sum(), images)
    correlations = torch.corrcoef(jacobians.flatten(1).double())
    if not torch.isfinite(correlations).all():
        raise ScoreFailed("the Jacobian of an image is constant")
    values = torch.linalg.eigvalsh(correlations)
    return -float((torch.log(values + EPSILON) + 1 / (values + EPSILON)).sum())
