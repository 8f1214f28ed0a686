"""Parquet files in the layout of Hugging Face datasets, written with pyarrow."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evaluators.data import load_dataset
from evaluators.data.parquet import split_of
from nas.errors import UserError

CIFAR10 = Path(__file__).parents[3].parent / "shared" / "data" / "cifar10-test.parquet"


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path, labels, names=("ant", "bee"), image="img", label="label"):
    """Pictures whose red value is their row."""
    columns = {image: [{"bytes": png(i), "path": None} for i in range(len(labels))], label: labels}
    table = pa.table(columns)
    if names:
        info = {"info": {"features": {label: {"names": list(names), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, path)
    return str(path)


def test_rows_keep_their_labels_and_the_schema_names_the_classes(tmp_path):
    data = load_dataset(write(tmp_path / "a.parquet", [i % 2 for i in range(40)]), image_size=None)
    assert data.class_names == ("ant", "bee")
    assert data.train_x.shape[1:] == (3, 4, 4)
    for x, y in ((data.train_x, data.train_y), (data.val_x, data.val_y), (data.test_x, data.test_y)):
        assert (x[:, 0, 0, 0] % 2 == y).all()


def test_files_of_a_folder_or_a_pattern_are_split_by_name(tmp_path):
    for name, count in (("x-train-0", 10), ("x-train-1", 12), ("x-validation", 6), ("x-test", 4)):
        write(tmp_path / f"{name}.parquet", [i % 2 for i in range(count)], image="image")
    for source in (tmp_path, tmp_path / "x-*.parquet"):
        data = load_dataset(str(source), image_size=None)
        assert [len(y) for y in (data.train_y, data.val_y, data.test_y)] == [22, 6, 4]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("cifar10-test", "test"),
        ("train-00000-of-00002", "train"),
        ("my_validation", "val"),
        ("latest", "train"),
        ("test/0000", "test"),
    ],
)
def test_the_last_word_of_a_name_or_the_folder_tells_the_split(name, split):
    assert split_of(Path(f"{name}.parquet")) == split


def test_words_as_labels_become_classes(tmp_path):
    data = load_dataset(write(tmp_path / "a.parquet", ["wasp", "fly"] * 20, names=()), image_size=None)
    assert data.class_names == ("fly", "wasp")
    assert (data.train_x[:, 0, 0, 0] % 2 != data.train_y).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1, 2, 1] * 5}, r"labels of train run from 0 to 2, out of range; 0 to 1 work"),
        ({"labels": [0, 1, -1, 1] * 5}, r"run from -1 to 1, out of range"),
        ({"labels": [0, 1, None, 1] * 5}, "5 rows have no label"),
        ({"labels": [0.0, 1.0, float("nan")] * 5}, "holds NaN in row 2"),
        ({"labels": [0, 0, 0, 0], "names": ("ant",)}, "one class only"),
        ({"labels": [0, 1] * 5, "image": "photo"}, "no image column; found photo, label"),
        ({"labels": [0, 1] * 5, "label": "name"}, "no label column; found img, name"),
    ],
)
def test_tables_that_cannot_work_are_refused_in_one_line(change, message, tmp_path):
    source = write(tmp_path / "a.parquet", **change)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(source, image_size=None)
    assert "a.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(UserError, match=r"a\.parquet': cannot be read as parquet"):
        load_dataset(str(tmp_path), image_size=None)


@pytest.mark.skipif(not CIFAR10.exists(), reason="needs ../shared/data/cifar10-test.parquet")
def test_cifar10_has_its_known_classes_and_balance(tmp_path, monkeypatch):
    monkeypatch.setenv("VITNAS_CACHE", str(tmp_path))
    data = load_dataset(str(CIFAR10), image_size=None, limit=500)
    assert data.class_names[:3] == ("airplane", "automobile", "bird")
    assert data.classes == 10
    assert data.train_x.shape == (400, 3, 32, 32)
    assert data.train_y.bincount().tolist() == [40] * 10
    assert np.allclose(data.mean, (0.491, 0.482, 0.447), atol=0.02)
