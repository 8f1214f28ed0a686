"""Files of arrays: .npz and IDX."""

import gzip
import struct

import numpy as np
import pytest

from evaluators.data import load_dataset
from evaluators.data.idx import read_idx
from nas.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(30, 5, 5), dtype=np.uint8)
LABELS = np.arange(30) % 3
TRAIN = {"train_images": IMAGES, "train_labels": LABELS}


def idx(path, array, zipped=False):
    kind = {"u1": 8, "i4": 0x0C}[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    data = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(data) if zipped else data)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_come_back_as_they_were(zipped, tmp_path):
    end = ".gz" if zipped else ""
    for prefix, part in (("train", slice(0, 21)), ("t10k", slice(21, 30))):
        idx(tmp_path / f"{prefix}-images-idx3-ubyte{end}", IMAGES[part], zipped)
        idx(tmp_path / f"{prefix}-labels-idx1-ubyte{end}", LABELS[part].astype(np.uint8), zipped)
    data = load_dataset(str(tmp_path), image_size=None, validation=0.3)
    assert np.array_equal(data.test_x[:, 0], IMAGES[21:])
    assert data.test_y.tolist() == LABELS[21:].tolist()
    assert len(data.train_y) + len(data.val_y) == 21
    assert data.class_names == ("0", "1", "2")


def test_idx_numbers_of_several_bytes_are_read_big_endian(tmp_path):
    idx(tmp_path / "a", np.array([[1, -2, 70000]], dtype=np.int32))
    assert read_idx(tmp_path / "a").tolist() == [[1, -2, 70000]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d[:-7], "cut short"),
        (lambda d: b"\x1f" + d[1:], "not an IDX file"),
        (lambda d: d[:3], "not an IDX file"),
    ],
)
def test_damaged_idx_files_are_named(spoil, message, tmp_path):
    idx(tmp_path / "a", IMAGES)
    (tmp_path / "a").write_bytes(spoil((tmp_path / "a").read_bytes()))
    with pytest.raises(UserError, match=f"a': .*{message}"):
        read_idx(tmp_path / "a")


def test_idx_images_without_labels_are_refused(tmp_path):
    idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    with pytest.raises(UserError, match="the labels of train are missing"):
        load_dataset(str(tmp_path), image_size=None)


@pytest.mark.parametrize(
    ("images", "chans"), [(IMAGES, 1), (IMAGES[..., None], 1), (np.stack([IMAGES] * 3, -1), 3), (IMAGES / 255, 1)]
)
def test_npz_takes_grey_colour_and_fractions(images, chans, tmp_path):
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=LABELS[:, None])
    data = load_dataset(str(tmp_path / "a.npz"), image_size=None)
    assert data.train_x.shape[1:] == (chans, 5, 5)
    known = IMAGES.reshape(30, -1).tolist()
    assert all(x in known for x in data.train_x[:, 0].flatten(1).tolist())


def test_classes_are_called_by_the_numbers_in_the_file(tmp_path):
    np.savez(tmp_path / "a.npz", train_images=IMAGES, train_labels=10 * LABELS + 5)
    data = load_dataset(str(tmp_path / "a.npz"), image_size=None)
    assert data.class_names == ("5", "15", "25")
    assert set(data.train_y.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_images": IMAGES}, "'train_labels' is missing; it holds train_images"),
        ({"x": IMAGES}, "'train_images' is missing; it holds x"),
        ({"train_images": IMAGES, "train_labels": LABELS[:9]}, "30 pictures and 9 labels"),
        ({"train_images": IMAGES, "train_labels": LABELS - 1}, "label -1 in train is out of range"),
        ({"train_images": IMAGES, "train_labels": np.where(LABELS > 1, np.nan, LABELS)}, "NaN in row 2"),
        ({"train_images": IMAGES, "train_labels": LABELS * 0}, "one class only"),
        ({"train_images": IMAGES, "train_labels": np.eye(3)[LABELS]}, "has shape (30, 3); one label for each"),
        ({"train_images": IMAGES * 9.0, "train_labels": LABELS}, "0 to 255, or 0 to 1, works"),
        ({"train_images": IMAGES[0], "train_labels": LABELS}, "has shape (5, 5)"),
        ({**TRAIN, "test_images": IMAGES, "test_labels": LABELS + 1}, "label 3 in test"),
        ({"train_images": IMAGES, "train_labels": np.array([None] * 30)}, "cannot be read as .npz"),
    ],
)
def test_npz_files_that_cannot_work_are_refused_in_one_line(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError) as caught:
        load_dataset(str(tmp_path / "a.npz"), image_size=None)
    assert message in str(caught.value)
    assert "a.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"cannot be read as \.npz"):
        load_dataset(str(tmp_path / "a.npz"), image_size=None)
