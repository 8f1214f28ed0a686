"""Strided convolutions between stages: 2×2 without overlap (PVT, arXiv 2102.12122) and 3×3 overlapping (PVTv2,
arXiv 2106.13797)."""

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import to_map, to_tokens
from search_spaces.parts import DOWNSAMPLERS, DownSampler, Grid, Identity


class StridedConv(DownSampler):
    """norm: "before" the convolution, "after" it, a "batch" norm after it, "batch_before" it, or "none".

    bias: of a norm before. proj_bias: of the convolution.
    """

    kernel: ClassVar[int]

    def __init__(
        self,
        dim: int,
        out_dim: int,
        grid: Grid,
        norm: str = "after",
        eps: float = 1e-5,
        bias: bool = True,
        proj_bias: bool = True,
    ):
        super().__init__()
        self.grid_in = grid
        padding = self.kernel // 2 if self.kernel % 2 else 0
        self.norm_before = nn.LayerNorm(dim, eps=eps, bias=bias) if norm == "before" else Identity()
        self.batch_before = nn.BatchNorm2d(dim, eps=eps) if norm == "batch_before" else Identity()
        self.proj = nn.Conv2d(dim, out_dim, self.kernel, stride=2, padding=padding, bias=proj_bias)
        self.norm_after = nn.LayerNorm(out_dim, eps=eps) if norm == "after" else Identity()
        self.batch_norm = nn.BatchNorm2d(out_dim, eps=eps) if norm == "batch" else Identity()

    def forward(self, x: Tensor) -> Tensor:
        h, w = self.grid_in
        x = self.batch_before(to_map(self.norm_before(x), self.grid_in))
        if self.kernel % 2 == 0 and (h % 2 or w % 2):
            x = F.pad(x, (0, w % 2, 0, h % 2))
        return self.norm_after(to_tokens(self.batch_norm(self.proj(x))))

    @classmethod
    def cost(cls, *, dim: int, out_dim: int, grid: Grid, **params: Any) -> Cost:
        h, w = cls.grid(grid)
        norms = {
            "before": costs.weights((1 + params.get("bias", True)) * dim),
            "after": costs.norm(out_dim),
            "batch": costs.norm(out_dim),
            "batch_before": costs.norm(dim),
            "none": Cost(),
        }
        convolution = costs.conv(h * w, dim, out_dim, cls.kernel, bias=params.get("proj_bias", True))
        return convolution + norms[params.get("norm", "after")]


@DOWNSAMPLERS.register("patch")
class PatchDown(StridedConv):
    """2×2, stride 2; odd sides are padded with zeros at the end."""

    kernel = 2


@DOWNSAMPLERS.register("overlap")
class OverlapDown(StridedConv):
    """3×3, stride 2, padding 1."""

    kernel = 3
