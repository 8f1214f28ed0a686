"""Augmentation of a whole batch at once, on the device that holds it: uint8 images in, uint8 images out."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nas.errors import unknown

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift every image (B, C, H, W) by up to an eighth of its side, repeating the border."""
    batch, _, height, width = x.shape
    pad = max(1, min(height, width) // 8)
    padded = x.index_select(2, _clamped(height, pad, x.device)).index_select(3, _clamped(width, pad, x.device))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2 pad + 1, 2 pad + 1, H, W), a view
    dy, dx = torch.randint(2 * pad + 1, (2, batch), generator=generator, device=x.device)
    return windows[torch.arange(batch, device=x.device), :, dy, dx]


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the images left to right."""
    chosen = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) < 0.5
    return torch.where(chosen, x.flip(-1), x)


def cutout(x: Tensor, generator: torch.Generator) -> Tensor:
    """Grey out a square of a quarter of the side at a random place (DeVries and Taylor, arXiv 1708.04552)."""
    batch, _, height, width = x.shape
    side = max(1, min(height, width) // 4)
    top = torch.randint(height - side + 1, (batch, 1), generator=generator, device=x.device)
    left = torch.randint(width - side + 1, (batch, 1), generator=generator, device=x.device)
    rows = _inside(top, side, height)[:, None, :, None]
    columns = _inside(left, side, width)[:, None, None, :]
    return x.masked_fill(rows & columns, 128)


AUGMENTATIONS: dict[str, Augmentation] = {"crop": crop, "flip": flip, "cutout": cutout}


def augmentation(names: Sequence[str]) -> Augmentation:
    """The named augmentations one after the other. Raises UserError for an unknown name."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise unknown("augmentation", name, AUGMENTATIONS, "training.augment")

    def apply(x: Tensor, generator: torch.Generator) -> Tensor:
        for name in names:
            x = AUGMENTATIONS[name](x, generator)
        return x

    return apply


def _clamped(length: int, pad: int, device: torch.device) -> Tensor:
    return torch.arange(-pad, length + pad, device=device).clamp_(0, length - 1)


def _inside(start: Tensor, side: int, length: int) -> Tensor:
    """(B, length): which places lie in [start, start + side)."""
    places = torch.arange(length, device=start.device)
    return (places >= start) & (places < start + side)
