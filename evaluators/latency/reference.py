"""The reference network: the same work on every day, so that what changes in its time is the device."""

import torch
from torch import Tensor, nn

SIZES = {"cpu": (64, 128, 4), "cuda": (4096, 1024, 1)}  # tokens, width, layers: about a millisecond


class Reference(nn.Module):
    """Feed-forward layers of a transformer, with a softmax over tokens: arithmetic, memory and small operators."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.tokens, self.dim, depth = SIZES[kind]
        self.layers = nn.Sequential(*(_layer(self.dim) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).softmax(dim=0)

    def example(self) -> Tensor:
        """An input, (tokens, width)."""
        return torch.zeros(self.tokens, self.dim)


def _layer(dim: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
