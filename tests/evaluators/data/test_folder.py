"""A folder of pictures by class, written with Pillow and read back."""

import numpy as np
import pytest
import torch
from PIL import Image

from evaluators.data import load_dataset
from nas.errors import UserError


def fill(root, classes=("cat", "dog"), count=20, size=(6, 6), mode="RGB", suffix=".png", seed=0):
    """Random pictures; returns their pixels by class."""
    rng, pixels = np.random.default_rng(seed), {}
    for name in classes:
        (root / name).mkdir(parents=True)
        shape = (count, *size) if mode == "L" else (count, *size, 3)
        pixels[name] = rng.integers(256, size=shape, dtype=np.uint8)
        for i, image in enumerate(pixels[name]):
            Image.fromarray(image).save(root / name / f"{i:03}{suffix}")
    return pixels


def test_pictures_come_back_as_they_were_with_the_names_of_their_folders(tmp_path):
    pixels = fill(tmp_path)
    data = load_dataset(str(tmp_path), image_size=None)
    assert data.class_names == ("cat", "dog")
    assert (data.in_chans, data.image_size) == (3, 6)
    for label, name in enumerate(data.class_names):
        splits = ((data.train_x, data.train_y), (data.val_x, data.val_y), (data.test_x, data.test_y))
        found = torch.cat([x[y == label] for x, y in splits])
        expected = pixels[name].transpose(0, 3, 1, 2)
        assert sorted(found.flatten(1).tolist()) == sorted(expected.reshape(20, -1).tolist())


def test_split_folders_are_the_splits_and_grey_stays_grey(tmp_path):
    sizes = {"train": 12, "validation": 4, "test": 3}
    for split, count in sizes.items():
        fill(tmp_path / split, count=count, mode="L")
    data = load_dataset(str(tmp_path), image_size=8)
    assert [len(y) for y in (data.train_y, data.val_y, data.test_y)] == [24, 8, 6]
    assert data.train_x.shape[1:] == (1, 8, 8)


def test_classes_may_be_called_like_splits(tmp_path):
    fill(tmp_path, classes=("test", "car", "van"))
    assert load_dataset(str(tmp_path), image_size=None).class_names == ("car", "test", "van")


def test_one_unreadable_picture_in_two_hundred_is_noted(tmp_path):
    fill(tmp_path, count=100)
    (tmp_path / "dog" / "007.png").write_bytes(b"no picture")
    data = load_dataset(str(tmp_path), image_size=6, in_chans=3)
    assert sum(map(len, (data.train_y, data.val_y, data.test_y))) == 199
    assert sum(map(len, (data.train_x, data.val_x, data.test_x))) == 199
    assert len(data.notes) == 1
    assert data.notes[0].startswith("1 of 200 pictures")
    assert "dog/007.png" in data.notes[0]


def test_more_than_one_in_a_hundred_is_fatal_and_cut_short_files_count(tmp_path):
    fill(tmp_path, count=50)
    for i in range(2):
        whole = (tmp_path / "cat" / f"{i:03}.png").read_bytes()
        (tmp_path / "cat" / f"{i:03}.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"2 of 100 pictures cannot be read, more than 1%: .*00[01]\.png"):
        load_dataset(str(tmp_path), image_size=6)


def test_pictures_of_different_sizes_need_a_size(tmp_path):
    fill(tmp_path, classes=("cat",), size=(6, 6))
    fill(tmp_path, classes=("dog",), size=(9, 12))
    with pytest.raises(UserError, match=r"pictures differ in size \(6x6, 12x9\); set data.image_size"):
        load_dataset(str(tmp_path), image_size=None)
    assert load_dataset(str(tmp_path), image_size=4).train_x.shape[1:] == (3, 4, 4)


def empty(_root):
    return "the folder is empty"


def one_class(root):
    fill(root, classes=("cat",))
    return r"one class only \(cat\)"


def no_folders(root):
    Image.new("L", (4, 4)).save(root / "a.png")
    return "no pictures in folders named by class"


def other_class_in_test(root):
    fill(root / "train")
    fill(root / "test", classes=("cat", "dogs"))
    return "class 'dogs' of test is not in train; did you mean 'dog'"


def no_train(root):
    fill(root / "test")
    fill(root / "val")
    return "no folder train/"


@pytest.mark.parametrize("make", [empty, one_class, no_folders, other_class_in_test, no_train])
def test_folders_that_cannot_work_are_refused_in_one_line(make, tmp_path):
    with pytest.raises(UserError, match=make(tmp_path)) as caught:
        load_dataset(str(tmp_path), image_size=None)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
