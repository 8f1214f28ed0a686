"""Encoded pictures or arrays -> uint8 tensors of one size. Pillow frees the interpreter's lock: threads help."""

import io
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from evaluators.data.source import Split, wrong_data
from nas.errors import UserError

SAMPLE = 64  # pictures that are looked at to find the size and the channels when none are asked for
CHUNK = 4096  # images resized at a time
GREY = (0.299, 0.587, 0.114)  # luma of ITU-R BT.601, as Pillow's
MODES = {1: "L", 3: "RGB"}
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)  # what Pillow raises for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What all pictures are brought to."""

    size: int
    chans: int


def find_format(split: Split, size: int | None, chans: int | None, where: object) -> Format:
    """Fill in what is not asked for from the pictures themselves."""
    if size is not None and size < 1:
        raise UserError(f"data.image_size: {size} is too small; 1 or more works")
    if isinstance(split.pictures, np.ndarray):
        own = split.pictures.shape[3] if split.pictures.ndim == 4 else 1
        chans = own if chans is None else chans
        if chans != own and (chans not in MODES or own == 2):
            raise UserError(f"data.in_chans: cannot turn {own} channels into {chans}; 1, 3 or {own} work")
        return Format(size=size or min(split.pictures.shape[1:3]), chans=chans)
    if chans is not None and chans not in MODES:
        raise UserError(f"data.in_chans: {chans} does not fit picture files; 1 (grey) or 3 (colour) works")
    if size is not None and chans is not None:
        return Format(size=size, chans=chans)
    seen = _look(split.pictures)
    if not seen:
        raise wrong_data(where, f"none of the first {SAMPLE} pictures can be read")
    sizes = {s for s, _ in seen}
    if size is None and len(sizes) > 1:
        (a, b), (c, d) = min(sizes), max(sizes)
        raise wrong_data(where, f"pictures differ in size ({a}x{b}, {c}x{d}); set data.image_size, such as 64")
    colour = 1 if all(grey for _, grey in seen) else 3
    return Format(size=size or min(seen[0][0]), chans=chans or colour)


def decode(split: Split, form: Format) -> tuple[torch.Tensor, list[int]]:
    """uint8 (N, C, H, W) of the pictures that can be read, and the places of those that cannot."""
    if isinstance(split.pictures, np.ndarray):
        return _from_array(split.pictures, form), []
    out = torch.empty(len(split), form.chans, form.size, form.size, dtype=torch.uint8)
    view, pictures = out.numpy(), split.pictures

    def work(i: int) -> bool:
        try:
            view[i] = read_picture(pictures[i], form)
        except DAMAGE:
            return False
        return True

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow about odd metadata in single files
        good = np.fromiter(pool.map(work, range(len(split)), chunksize=64), dtype=bool, count=len(split))
    if good.all():
        return out, []
    return out[torch.from_numpy(good)], np.flatnonzero(~good).tolist()


def read_picture(picture: Path | bytes, form: Format) -> np.ndarray:
    """uint8 (C, size, size): upright, the largest square in the middle, bilinear with anti-aliasing."""
    with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
        image.draft(MODES[form.chans], (2 * form.size, 2 * form.size))  # lets JPEG skip detail nobody will see
        upright = _in_mode(ImageOps.exif_transpose(image), MODES[form.chans])
        if upright.size != (form.size, form.size):
            upright = ImageOps.fit(upright, (form.size, form.size), method=Image.Resampling.BILINEAR)
        pixels = np.asarray(upright)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 bits and more: Pillow would cut off instead of scaling
        values = np.asarray(image).astype(np.float32)
        top = 65535 if values.max() > 255 else 255
        image = Image.fromarray((values * (255 / top)).clip(0, 255).astype(np.uint8))
    if image.mode == "P":
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


def _look(pictures: Sequence[Path | bytes]) -> list[tuple[tuple[int, int], bool]]:
    """(size, is it grey) of some pictures, evenly spread, without decoding them."""
    seen = []
    for i in np.unique(np.linspace(0, len(pictures) - 1, SAMPLE).astype(int)):
        picture = pictures[i]
        try:
            with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
                seen.append((image.size, image.mode in ("1", "L", "LA") or image.mode.startswith("I")))
        except (OSError, ValueError):
            continue
    return seen


def _from_array(images: np.ndarray, form: Format) -> torch.Tensor:
    parts = [_fit(_channels(images[i : i + CHUNK], form.chans), form.size) for i in range(0, len(images), CHUNK)]
    return torch.cat(parts) if parts else torch.empty(0, form.chans, form.size, form.size, dtype=torch.uint8)


def _channels(images: np.ndarray, chans: int) -> torch.Tensor:
    """(N, H, W) or (N, H, W, C) -> (N, chans, H, W)."""
    x = torch.from_numpy(np.array(images))  # a copy, since what was read from a file may be read-only
    x = x[:, None] if x.ndim == 3 else x.permute(0, 3, 1, 2)
    if x.shape[1] == chans:
        return x
    if chans == 3:
        return x[:, :3] if x.shape[1] == 4 else x.expand(-1, 3, -1, -1)
    luma = torch.tensor(GREY)[None, :, None, None]
    return (x[:, :3] * luma).sum(1, keepdim=True).round().to(torch.uint8)


def _fit(x: torch.Tensor, size: int) -> torch.Tensor:
    """The largest square in the middle, resized."""
    height, width = x.shape[2:]
    side = min(height, width)
    x = x[:, :, (height - side) // 2 :, (width - side) // 2 :][:, :, :side, :side]
    if side == size:
        return x.contiguous()
    return F.interpolate(x.float(), (size, size), mode="bilinear", antialias=True).round().clamp(0, 255).to(torch.uint8)
