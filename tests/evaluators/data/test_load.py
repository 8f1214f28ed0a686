"""Splits, limits and the facts of a dataset, on digits and on arrays whose statistics are known."""

import numpy as np
import pytest
import torch
from PIL import Image

from evaluators.data import load_dataset
from nas.errors import UserError


def digits(**kwargs):
    return load_dataset("digits", **{"image_size": None, **kwargs})


def npz(path, images, labels, **more):
    np.savez(path, train_images=images, train_labels=labels, **more)
    return str(path)


def test_digits_are_scikit_learns_pictures_each_in_one_split():
    from sklearn.datasets import load_digits

    data, truth = digits(), load_digits()
    assert (data.in_chans, data.image_size, data.classes) == (1, 8, 10)
    images = torch.cat([data.train_x, data.val_x, data.test_x]).flatten(1).numpy()
    labels = torch.cat([data.train_y, data.val_y, data.test_y]).numpy()
    found = sorted(zip(labels.tolist(), (images / 255 * 16).round().astype(int).tolist(), strict=True))
    assert found == sorted(zip(truth.target.tolist(), truth.data.astype(int).tolist(), strict=True))


def test_every_class_gives_its_share_to_every_split():
    data = digits(validation=0.25)
    everything = torch.cat([data.train_y, data.val_y, data.test_y]).bincount()
    for labels, share in ((data.test_y, 0.2), (data.val_y, 0.8 * 0.25), (data.train_y, 0.8 * 0.75)):
        assert (labels.bincount() - share * everything).abs().max() <= 1.5
        assert len(labels) == pytest.approx(share * 1797, abs=1)


def test_same_seed_same_splits_and_the_test_split_is_always_the_same():
    a, b, c = digits(seed=0), digits(seed=0), digits(seed=1)
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert torch.equal(a.val_x, b.val_x)
    assert not torch.equal(a.val_x, c.val_x)
    assert torch.equal(a.test_x, c.test_x)
    assert torch.equal(a.test_x, digits(limit=200, validation=0.5).test_x)


def test_limit_counts_the_pictures_of_training_and_validation():
    data = digits(limit=100)
    assert (len(data.train_y), len(data.val_y), len(data.test_y)) == (80, 20, 359)
    assert data.val_y.bincount().tolist() == [2] * 10


def test_mean_and_deviation_are_those_of_the_training_pictures():
    data = digits()
    pixels = data.train_x.double() / 255
    assert data.mean == pytest.approx([pixels.mean().item()])
    assert data.std == pytest.approx([pixels.std(correction=0).item()])


def test_a_constant_channel_does_not_divide_by_zero(tmp_path):
    data = load_dataset(npz(tmp_path / "a.npz", np.full((40, 4, 4), 7, np.uint8), np.arange(40) % 2), image_size=None)
    assert data.std == (1e-3,)
    assert data.mean == pytest.approx((7 / 255,))


def test_pictures_are_resized_and_brought_to_the_channels_asked_for():
    data = digits(image_size=16, in_chans=3)
    assert data.train_x.shape[1:] == (3, 16, 16)
    assert data.train_x.dtype == torch.uint8
    assert torch.equal(data.train_x[:, 0], data.train_x[:, 2])
    for before, after in zip(digits().train_x[:20, 0], data.train_x[:20, 0], strict=True):
        expected = np.asarray(Image.fromarray(before.numpy()).resize((16, 16), Image.Resampling.BILINEAR))
        assert np.abs(after.numpy().astype(int) - expected).max() <= 1


def test_splits_of_the_source_are_kept(tmp_path):
    rng, parts = np.random.default_rng(0), {}
    for split, count in (("val", 6), ("test", 8)):
        parts[f"{split}_images"] = rng.integers(256, size=(count, 4, 4), dtype=np.uint8)
        parts[f"{split}_labels"] = np.arange(count) % 2
    images = rng.integers(256, size=(20, 4, 4), dtype=np.uint8)
    data = load_dataset(npz(tmp_path / "a.npz", images, np.arange(20) % 2, **parts), image_size=None)
    assert np.array_equal(data.train_x[:, 0], images)
    assert np.array_equal(data.val_x[:, 0], parts["val_images"])
    assert np.array_equal(data.test_x[:, 0], parts["test_images"])


@pytest.mark.parametrize(
    ("source", "kwargs", "message"),
    [
        ("digit", {}, "no such file or folder; built in: digits; did you mean 'digits'"),
        ("nowhere/*.parquet", {}, "no parquet file matches"),
        (__file__, {}, "a .parquet or .npz file works"),
        ("digits", {"validation": 1.5}, "data.validation: 1.5"),
        ("digits", {"limit": 5}, "data.limit: 5 is too small for 10 classes; give 20 or more"),
        ("digits", {"in_chans": 2}, "data.in_chans: cannot turn 1 channels into 2"),
        ("digits", {"image_size": 0}, "data.image_size: 0 is too small"),
    ],
)
def test_mistakes_are_one_line_that_says_what_works(source, kwargs, message):
    with pytest.raises(UserError) as caught:
        load_dataset(source, **{"image_size": None, **kwargs})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_few_pictures_are_refused(tmp_path):
    path = npz(tmp_path / "a.npz", np.zeros((2, 4, 4), np.uint8), np.arange(2))
    with pytest.raises(UserError, match="2 pictures are too few"):
        load_dataset(path, image_size=None)
