"""Decoding of single pictures against what Pillow or arithmetic says."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from evaluators.data.pictures import Format, decode, find_format, read_picture
from evaluators.data.source import Split


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_wide_picture_gives_its_middle():
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 4:12] = 200
    found = read_picture(encoded(Image.fromarray(pixels)), Format(size=8, chans=1))
    assert found.shape == (1, 8, 8)
    assert (found == 200).all()


def test_shrinking_averages_instead_of_skipping():
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    found = read_picture(encoded(Image.fromarray(board)), Format(size=8, chans=1))
    assert np.abs(found.astype(int) - 127).max() < 10


def test_a_large_jpeg_agrees_with_decoding_it_in_full():
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    image = Image.fromarray(np.stack([np.tile(ramp, (512, 1))] * 3, axis=-1))
    data = encoded(image, "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.abs(read_picture(data, Format(size=32, chans=3)).astype(int) - expected).max() <= 3


def test_photographs_are_turned_upright():
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:, 6:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    found = read_picture(encoded(Image.fromarray(pixels), exif=exif), Format(size=8, chans=1))
    assert np.array_equal(found[0], np.rot90(pixels, -1))


def test_sixteen_bits_are_scaled_not_cut_off():
    pixels = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    found = read_picture(encoded(Image.fromarray(pixels)), Format(size=8, chans=1))
    assert np.abs(found[0].astype(float) - pixels / 257).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_becomes_grey_or_colour(mode):
    data = encoded(Image.new("RGB", (4, 4), "white").convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    for chans in (1, 3):
        found = read_picture(data, Format(size=4, chans=chans))
        assert found.shape == (chans, 4, 4)
        assert (found >= 254).all()


def test_arrays_become_grey_by_the_luma_that_pillow_uses():
    colour = np.random.default_rng(0).integers(256, size=(2, 5, 5, 3), dtype=np.uint8)
    found, bad = decode(Split(pictures=colour, labels=np.zeros(2, int)), Format(size=5, chans=1))
    expected = np.stack([np.asarray(Image.fromarray(c).convert("L")) for c in colour])
    assert not bad
    assert (found[:, 0].int() - torch.from_numpy(expected).int()).abs().max() <= 1


def test_grey_pictures_are_kept_grey_unless_one_is_coloured():
    grey, colour = encoded(Image.new("L", (4, 4))), encoded(Image.new("RGB", (4, 4)))
    for pictures, chans in (([grey, grey], 1), ([grey, colour], 3)):
        form = find_format(Split(pictures=pictures, labels=np.zeros(2, int)), None, None, "here")
        assert form == Format(size=4, chans=chans)
