"""Kernel of activation patterns (Mellor et al., ICML 2021, arXiv 2006.04647)."""

import torch
from torch import Tensor

from evaluators.zero_cost.activations import Listening
from evaluators.zero_cost.base import SCORES, ScoreFailed
from evaluators.zero_cost.probe import Probe


@SCORES.register("naswot")
def naswot(probe: Probe) -> float:
    """log |det K|, K[i, j] = number of units whose binary codes agree for images i and j, summed over layers.

    The paper's code of a ReLU is whether it passes its input. GELU and its kin have no such switch: here the code is
    the sign of the input, which is the same for a ReLU. Every token of every hidden channel is a unit.
    """
    kernel = torch.zeros(len(probe.images), len(probe.images), dtype=torch.float64, device=probe.device)

    def hear(x: Tensor) -> None:
        if x.shape[0] % len(kernel) == 0:  # windows stay with their image; what no image went into is left out
            kernel.add_(agreements(x.detach().reshape(len(kernel), -1) > 0))

    with probe.lent() as network, torch.no_grad(), Listening(hear):
        network(probe.images)
    if not kernel.any():
        raise ScoreFailed("no activation function was heard")
    sign, logarithm = torch.linalg.slogdet(kernel)
    if sign == 0:
        raise ScoreFailed("two images have the same activation pattern")
    return float(logarithm)


def agreements(codes: Tensor) -> Tensor:
    """(N, D) booleans -> (N, N) how many of the D units agree: with signs s = ±1 that is (s sᵀ + D) / 2."""
    signs = codes.float() * 2 - 1
    return ((signs @ signs.T).double() + codes.shape[1]) / 2
