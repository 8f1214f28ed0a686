"""How a network is trained: the settings, the schedule of the learning rate, the optimizer, averaged weights.

AdamW (Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101) with a linear warm-up and a cosine decay per step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained. mixup: alpha of its Beta distribution, 0 for none. ema: decay of the averaged weights,
    0 for none. amp: mixed precision where the device has it. drop_path: for whoever builds the network.
    head_diversity: weight of the penalty on heads that put out the same, 0 for none."""

    epochs: int = 30
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    warmup_epochs: float = 3.0
    label_smoothing: float = 0.1
    mixup: float = 0.0
    ema: float = 0.0
    augment: tuple[str, ...] = ("crop", "flip")
    amp: bool = True
    drop_path: float = 0.0
    head_diversity: float = 0.0


def learning_rate(step: int, recipe: Recipe, per_epoch: int) -> float:
    """Linear over the warm-up, then half a cosine down to zero (Loshchilov and Hutter, ICLR 2017, arXiv 1608.03983)."""
    total = recipe.epochs * per_epoch
    warmup = min(recipe.warmup_epochs, recipe.epochs / 2) * per_epoch
    if step < warmup:
        return recipe.lr * (step + 1) / math.ceil(warmup)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


def make_optimizer(network: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.AdamW:
    """AdamW that decays the weights of linear and convolution layers alone: no norms, biases, tables, tokens."""
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d)
    decayed = {id(m.weight) for m in network.modules() if isinstance(m, layers)}
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) in decayed], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=recipe.lr, fused=device.type in ("cpu", "cuda"))


def amp_type(device: torch.device) -> torch.dtype | None:
    """bfloat16 or float16 on a GPU; None on a CPU, where few have fast half precision."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average that follows faster in its first steps, when the weights still travel."""

    def update(averages: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        for average, value in zip(averages, current, strict=True):
            average.lerp_(value, 1 - kept) if average.is_floating_point() else average.copy_(value)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)
