"""Zen score (Lin et al., Zen-NAS, ICCV 2021, arXiv 2102.01063)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evaluators.zero_cost.base import SCORES, ScoreFailed
from evaluators.zero_cost.probe import Probe

STEP = 0.01  # α of the paper
REPEATS = 2


@SCORES.register("zen")
def zen(probe: Probe) -> float:
    """log E‖f(x) - f(x + α ε)‖ + Σ over batch norms of log √(mean variance of their input), x and ε Gaussian noise.

    f are the tokens in front of the head. The second term undoes what batch norms divide by; layer norms stand inside
    the branches of a transformer block, off the trunk, and are not undone. Weights are those that a training begins
    with, and residuals stay, where the paper draws N(0, 1) weights and removes them.
    """
    if not hasattr(probe.network, "features"):
        raise ScoreFailed("the network has no method features")
    with probe.lent() as network, torch.no_grad():
        drawn = [_differences(network, torch.empty_like(probe.images[:16])) for _ in range(REPEATS)]
    mean = fmean(difference for difference, _ in drawn)
    return float(torch.tensor(mean).log()) + fmean(scale for _, scale in drawn)


def _differences(network: nn.Module, like: Tensor) -> tuple[float, float]:
    """(mean distance between the features of noise and of noise beside it, log scale that batch norms removed)."""
    noise, beside = torch.randn_like(like), torch.randn_like(like)
    with _batch_norms(network) as scales:
        first = _flat(network.features(noise))  # type: ignore[operator]
    second = _flat(network.features(noise + STEP * beside))  # type: ignore[operator]
    return float((first - second).norm(dim=1).mean()), sum(scales)


def _flat(features: Any) -> Tensor:
    """(B, everything); of a dual network, of both branches."""
    parts = [features] if isinstance(features, Tensor) else list(features)
    return torch.cat([part.flatten(1) for part in parts], dim=1)


@contextmanager
def _batch_norms(network: nn.Module) -> Iterator[list[float]]:
    """While open, log √(mean variance) of what goes into each batch norm."""
    scales: list[float] = []

    def hear(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        axes = [axis for axis in range(args[0].dim()) if axis != 1]
        scales.append(args[0].var(dim=axes, correction=0).mean().log().item() / 2)

    with ExitStack() as hooks:
        for layer in network.modules():
            if isinstance(layer, _BatchNorm):
                hooks.callback(layer.register_forward_pre_hook(hear).remove)
        yield scales
