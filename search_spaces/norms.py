"""Norms over tokens (B, L, C): layer, batch, group norm with one group (PoolFormer, arXiv 2111.11418), and none."""

import torch
from torch import Tensor, nn

from search_spaces.layer import Layer
from search_spaces.parts import NORMS, Identity


@NORMS.register("layer")
def layer_norm(dim: int, eps: float = 1e-6, bias: bool = True) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=eps, bias=bias)


@NORMS.register("none")
def no_norm(dim: int) -> Identity:
    """For blocks whose branches hold norms of their own."""
    return Identity()


@NORMS.register("batch")
class TokenBatchNorm(Layer):
    """Mean and variance per channel over all tokens of a batch; those gathered in training are used in evaluation."""

    def __init__(self, dim: int, eps: float = 1e-5):
        super().__init__()
        self.norm = nn.BatchNorm1d(dim, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(0, 1)).unflatten(0, (-1, x.shape[1]))


@NORMS.register("group")
class SingleGroupNorm(Layer):
    """Mean and variance over all tokens and channels of an image together, scale and shift per channel."""

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x.float(), dim=(1, 2), keepdim=True, correction=0)
        x = ((x - mean) * torch.rsqrt(variance + self.eps)).to(x.dtype) * self.weight
        return x if self.bias is None else x + self.bias
