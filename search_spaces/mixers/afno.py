"""Adaptive Fourier neural operator (Guibas et al., ICLR 2022, arXiv 2111.13587)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Grid, Mixer
from search_spaces.taxonomy import About

BLOCKS, EXPAND, KEPT = 8, 1, 1.0
NARROWEST = 4  # channels of a block, below which it mixes hardly any


@MIXERS.register("afno")
class FourierOperator(Mixer):
    """F⁻¹ shrink(relu(F x · W₁ + b₁) · W₂ + b₂): one complex MLP, block-diagonal over channels, for every frequency.

    F is the orthonormal real transform over the map; relu and soft-shrinkage act on real and imaginary parts alone.
    blocks: of channels. kept: share of the frequencies of each axis, low ones first; the others become zero.
    expand: hidden channels of a block over its channels. shrink: threshold λ below which a part becomes zero.
    """

    about = About(
        taxonomy="complexity reduction",
        group="Fourier",
        paper="Guibas et al., ICLR 2022",
        arxiv="2111.13587",
        complexity="4NC²/b for b blocks, and two transforms in NC log N",
    )
    search = {"blocks": (4, 8), "kept": (0.5, 1)}
    has_heads = False

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid,
        blocks: int = BLOCKS,
        expand: int = EXPAND,
        kept: float = KEPT,
        shrink: float = 0.01,
    ):
        super().__init__()
        width = dim // blocks
        self.grid, self.blocks, self.shrink = grid, blocks, shrink
        self.low, self.high, self.columns = kept_frequencies(grid, kept)
        self.weight1 = nn.Parameter(torch.empty(2, blocks, width, width * expand))  # real, imaginary
        self.bias1 = nn.Parameter(torch.zeros(2, blocks, width * expand))
        self.weight2 = nn.Parameter(torch.empty(2, blocks, width * expand, width))
        self.bias2 = nn.Parameter(torch.zeros(2, blocks, width))
        for weight in (self.weight1, self.weight2):
            nn.init.normal_(weight, std=(2 * weight.shape[2]) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x.float().unflatten(1, self.grid), dim=(1, 2), norm="ortho")  # (B, H, W/2 + 1, C)
        parts = torch.view_as_real(self._crop(spectrum).contiguous())  # whole complex numbers are quicker to copy
        mixed = self._pad(self._mix(parts.flatten(3))).unflatten(3, (-1, 2))
        out = torch.fft.irfft2(torch.view_as_complex(mixed), s=self.grid, dim=(1, 2), norm="ortho")
        return out.flatten(1, 2).to(x.dtype)

    def _mix(self, z: Tensor) -> Tensor:
        """(B, R, S, 2C) -> the same; real and imaginary parts lie side by side, so the products are real."""
        blocks = z.reshape(-1, self.blocks, z.shape[3] // self.blocks).transpose(0, 1)
        blocks = F.relu(torch.baddbmm(_side_by_side(self.bias1), blocks, real_matrix(self.weight1)))
        blocks = torch.baddbmm(_side_by_side(self.bias2), blocks, real_matrix(self.weight2))
        return F.softshrink(blocks.float(), self.shrink).transpose(0, 1).reshape(z.shape)

    def _crop(self, spectrum: Tensor) -> Tensor:
        """The frequencies that are kept: low ones of either sign along the rows, low ones along the columns."""
        spectrum = spectrum[:, :, : self.columns]
        if self.low + self.high == self.grid[0]:
            return spectrum
        return torch.cat([spectrum[:, : self.low], spectrum[:, self.grid[0] - self.high :]], dim=1)

    def _pad(self, z: Tensor) -> Tensor:
        """Zeros where _crop took frequencies away."""
        rows, columns = self.grid[0] - self.low - self.high, self.grid[1] // 2 + 1 - self.columns
        if not rows:
            return F.pad(z, (0, 0, 0, columns)) if columns else z
        front = F.pad(z[:, : self.low], (0, 0, 0, columns, 0, rows))
        return torch.cat([front, F.pad(z[:, self.low :], (0, 0, 0, columns))], dim=1)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.grid is None:
            return "a Fourier transform needs a grid of tokens"
        blocks = params.get("blocks", BLOCKS)
        if shape.dim % blocks or shape.dim // blocks < NARROWEST:
            return f"{shape.dim} channels in {blocks} blocks; whole blocks of at least {NARROWEST}"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        assert shape.grid is not None
        blocks, expand = params.get("blocks", BLOCKS), params.get("expand", EXPAND)
        low, high, columns = kept_frequencies(shape.grid, params.get("kept", KEPT))
        frequencies, width = (low + high) * columns, shape.dim // blocks
        own = costs.weights(4 * shape.dim * width * expand + 2 * shape.dim * (expand + 1))
        hidden = costs.matmul(blocks, frequencies, 2 * width, 2 * width * expand)
        return own + hidden + costs.matmul(blocks, frequencies, 2 * width * expand, 2 * width)


def kept_frequencies(grid: Grid, kept: float) -> tuple[int, int, int]:
    """Rows from the front of the spectrum and from its end, and columns: |k_y| <= kept · H/2, k_x <= kept · W/2."""
    if kept >= 1:
        return grid[0], 0, grid[1] // 2 + 1
    rows = int(kept * grid[0] / 2)
    return rows + 1, rows, int(kept * grid[1] / 2) + 1


def real_matrix(weight: Tensor) -> Tensor:
    """Complex matrices (2, k, i, o) as real ones (k, 2i, 2o) on vectors (re₀, im₀, re₁, im₁, …)."""
    real, imaginary = weight
    from_real = torch.stack([real, imaginary], dim=3)
    from_imaginary = torch.stack([-imaginary, real], dim=3)
    return torch.stack([from_real, from_imaginary], dim=2).flatten(3).flatten(1, 2)


def _side_by_side(bias: Tensor) -> Tensor:
    """(2, k, o) -> (k, 1, 2o)."""
    return bias.permute(1, 2, 0).flatten(1).unsqueeze(1)
