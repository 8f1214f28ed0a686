"""Parquet in the layout of Hugging Face datasets: images as {bytes, path}, labels, class names in the schema."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evaluators.data.source import (
    SPLIT_WORDS,
    Source,
    Split,
    as_labels,
    named_source,
    numbered_source,
    stamp_of,
    wrong_data,
)

IMAGE_COLUMNS = ("image", "img", "picture", "pixels")
LABEL_COLUMNS = ("label", "labels", "fine_label", "target", "class")


class Column(Sequence[Path | bytes]):
    """An image column whose pictures become Python objects one at a time."""

    def __init__(self, column: pa.ChunkedArray, folder: Path) -> None:
        self._column, self._folder = column, folder

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        value = self._column[int(i)].as_py()
        if isinstance(value, dict):
            data, path = value.get("bytes"), value.get("path")
            return data if data is not None else self._folder / (path or "")
        return value if value is not None else b""


def open_parquet(files: Sequence[Path], where: object) -> Source:
    """All files of a split together; the split is told by the file's name."""
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of(file) if len(files) > 1 else "train", []).append(file)
    if "train" not in by_split:
        raise wrong_data(where, f"no file is named as the training split; found {', '.join(f.name for f in files)}")
    tables = {split: _read(paths) for split, paths in by_split.items()}
    image, label = _columns(tables["train"], by_split["train"][0])
    names = _class_names(tables["train"], label)
    text = pa.types.is_string(tables["train"][label].type) or pa.types.is_large_string(tables["train"][label].type)
    if text:
        names = names or sorted(set(tables["train"][label].to_pylist()) - {None})
    splits = {s: _split(t, image, label, names if text else None, by_split[s][0]) for s, t in tables.items()}
    name, stamp = re.split(r"[-_.]", by_split["train"][0].stem)[0], stamp_of(files)
    if names:
        return named_source(name, where, splits, names, stamp=stamp)
    return numbered_source(name, where, splits, stamp=stamp)


def split_of(file: Path) -> str:
    """By the last word of the name that is a split's, such as cifar10-test.parquet, or by the folder; else train."""
    words = [SPLIT_WORDS[w] for w in re.split(r"[^a-z0-9]+", file.stem.lower()) if w in SPLIT_WORDS]
    return words[-1] if words else SPLIT_WORDS.get(file.parent.name.lower(), "train")


def _read(files: Sequence[Path]) -> pa.Table:
    tables = []
    for file in files:
        try:
            columns = [c for c in pq.read_schema(file).names if c in IMAGE_COLUMNS + LABEL_COLUMNS]
            tables.append(pq.read_table(file, columns=columns, memory_map=True, partitioning=None))
        except (pa.ArrowException, OSError) as error:
            raise wrong_data(file, f"cannot be read as parquet ({str(error).splitlines()[0]})") from None
    for file, table in zip(files, tables, strict=True):
        if table.schema.names != tables[0].schema.names:
            names = f"{table.schema.names}, not {tables[0].schema.names}"
            raise wrong_data(file, f"has other columns than {files[0].name}: {names}")
    return pa.concat_tables(tables, promote_options="permissive")


def _columns(table: pa.Table, file: Path) -> tuple[str, str]:
    found = pq.read_schema(file).names
    image = next((c for c in IMAGE_COLUMNS if c in table.schema.names), None)
    label = next((c for c in LABEL_COLUMNS if c in table.schema.names), None)
    if image is None or label is None:
        what, choices = ("image", IMAGE_COLUMNS) if image is None else ("label", LABEL_COLUMNS)
        raise wrong_data(file, f"no {what} column; found {', '.join(found)}; one of {', '.join(choices)} works")
    return image, label


def _split(table: pa.Table, image: str, label: str, words: list[str] | None, file: Path) -> Split:
    for column in (image, label):
        if column not in table.schema.names:
            found = ", ".join(table.schema.names)
            raise wrong_data(file, f"column {column!r} of the training split is missing; found {found}")
    column = table[label]
    if column.null_count:
        raise wrong_data(file, f"{column.null_count} rows have no {label}; every picture needs one")
    if words is None:
        labels = as_labels(column.to_numpy(), file, f"column {label!r}")
    else:
        numbers = {word: i for i, word in enumerate(words)}
        labels = np.array([numbers.get(word, -1) for word in column.to_pylist()], dtype=np.int64)
    return Split(pictures=Column(table[image], file.parent), labels=labels)


def _class_names(table: pa.Table, label: str) -> list[str]:
    """From the schema's metadata; empty where there are none."""
    try:
        features = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return [str(name) for name in features[label]["names"]]
    except (KeyError, TypeError, ValueError):
        return []
