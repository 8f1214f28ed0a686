"""Augmentations against what they must leave alone."""

import pytest
import torch

from evaluators.augment import AUGMENTATIONS, augmentation, crop, cutout, flip
from nas.errors import UserError


def images(seed: int = 0) -> torch.Tensor:
    return torch.randint(256, (32, 3, 16, 16), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_same_seed_same_images_in_the_same_form(name):
    x, before = images(), images()
    a, b, c = (AUGMENTATIONS[name](x, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert a.dtype == torch.uint8
    assert a.shape == x.shape
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(x, before)


def test_crop_shifts_each_image_by_up_to_an_eighth():
    x = images()
    y = crop(x, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x.float(), (2, 2, 2, 2), mode="replicate").to(torch.uint8)
    for before, after in zip(padded, y, strict=True):
        shifted = [before[:, dy : dy + 16, dx : dx + 16] for dy in range(5) for dx in range(5)]
        assert sum(torch.equal(after, s) for s in shifted) >= 1


def test_flip_mirrors_about_half_of_the_images():
    x = images()
    y = flip(x, torch.Generator().manual_seed(0))
    mirrored = [torch.equal(b, a.flip(-1)) for a, b in zip(x, y, strict=True)]
    assert all(m or torch.equal(a, b) for m, a, b in zip(mirrored, x, y, strict=True))
    assert 8 < sum(mirrored) < 24


def test_cutout_greys_one_square():
    y = cutout(torch.zeros(64, 1, 16, 16, dtype=torch.uint8), torch.Generator().manual_seed(0))
    assert (y.flatten(1) == 128).sum(1).tolist() == [16] * 64
    assert ((y[:, 0] == 128).any(1).sum(1) == 4).all()
    assert ((y[:, 0] == 128).any(2).sum(1) == 4).all()


def test_unknown_augmentation_names_the_nearest():
    with pytest.raises(UserError, match=r"training\.augment: unknown augmentation 'flop'; did you mean 'flip'"):
        augmentation(("crop", "flop"))
