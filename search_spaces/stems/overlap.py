"""Overlapping patch embedding: a convolution larger than its stride (PVTv2, arXiv 2106.13797)."""

from typing import Any

from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import to_tokens
from search_spaces.parts import STEMS, Grid, Identity, Stem


@STEMS.register("overlap")
class OverlapStem(Stem):
    """One convolution, then a layer norm. By default the kernel is 2·stride - 1 and the padding half of it.

    batch: a batch norm instead (VAN, arXiv 2202.09741).
    """

    positional = True

    def __init__(
        self,
        in_chans: int,
        dim: int,
        image_size: Grid,
        stride: int,
        kernel: int | None = None,
        padding: int | None = None,
        norm: bool = True,
        eps: float = 1e-5,
        norm_bias: bool = True,
        batch: bool = False,
    ):
        super().__init__()
        kernel = _kernel(stride, kernel)
        self.proj = nn.Conv2d(in_chans, dim, kernel, stride=stride, padding=_padding(kernel, padding))
        self.batch_norm = nn.BatchNorm2d(dim, eps=eps) if batch else Identity()
        self.norm = nn.LayerNorm(dim, eps=eps, bias=norm_bias) if norm and not batch else Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(to_tokens(self.batch_norm(self.proj(x))))

    @classmethod
    def grid(cls, image_size: Grid, **params: Any) -> Grid:
        kernel = _kernel(params["stride"], params.get("kernel"))
        padding = _padding(kernel, params.get("padding"))
        h, w = ((side + 2 * padding - kernel) // params["stride"] + 1 for side in image_size)
        return h, w

    @classmethod
    def cost(cls, *, in_chans: int, dim: int, image_size: Grid, **params: Any) -> Cost:
        h, w = cls.grid(image_size, **params)
        extra = costs.weights((1 + params.get("norm_bias", True)) * dim) if params.get("norm", True) else Cost()
        extra = costs.norm(dim) if params.get("batch", False) else extra
        return costs.conv(h * w, in_chans, dim, _kernel(params["stride"], params.get("kernel"))) + extra


def _kernel(stride: int, kernel: int | None) -> int:
    return kernel or max(3, 2 * stride - 1)


def _padding(kernel: int, padding: int | None) -> int:
    return kernel // 2 if padding is None else padding
