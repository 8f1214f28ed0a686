"""Preservation of gradient flow (Wang et al., GraSP, ICLR 2020, arXiv 2002.07376; as a score arXiv 2101.08134)."""

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from evaluators.zero_cost.base import SCORES
from evaluators.zero_cost.probe import Probe


@SCORES.register("grasp")
def grasp(probe: Probe) -> float:
    """-Σ W ⊙ (H ∂L/∂W), H the Hessian, L the mean cross-entropy over the first mini-batch.

    Fused attention has no second derivative, so attention is computed step by step here.
    """
    images, labels = probe.batches[0]
    weights = probe.weights
    with probe.lent() as network, sdpa_kernel(SDPBackend.MATH):
        loss = F.cross_entropy(network(images), labels)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True, allow_unused=True)
        used = [(w, g) for w, g in zip(weights.values(), gradients, strict=True) if g is not None]
        product = torch.stack([(g * g.detach()).sum() for _, g in used]).sum()
        curved = torch.autograd.grad(product, [w for w, _ in used], allow_unused=True)
    pairs = zip([w for w, _ in used], curved, strict=True)
    return -float(sum((w.detach() * h).sum() for w, h in pairs if h is not None))
