"""What a reader of files hands over: pictures as they were found, with their labels, by split; not yet decoded."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import UserError, nearest

SPLITS = ("train", "val", "test")
SPLIT_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "t10k": "test",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """pictures: uint8 (N, H, W) or (N, H, W, C), or a sequence of files and encoded bytes. labels: int64 (N,)."""

    pictures: np.ndarray | Sequence[Path | bytes]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Splits by name; "train" is always there. stamp: changes when the files do."""

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    stamp: str
    notes: tuple[str, ...] = ()


def wrong_data(where: object, what: str) -> UserError:
    return UserError(f"data.source {str(where)!r}: {what}")


def stamp_of(files: Sequence[Path]) -> str:
    """Names, sizes and times of files in one short word."""
    facts = [(str(f.resolve()), s.st_size, s.st_mtime_ns) for f in files for s in (f.stat(),)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def named_source(name: str, where: object, splits: dict[str, Split], class_names: Sequence[str], **rest: Any) -> Source:
    """A source whose labels must be numbers of `class_names`."""
    last = len(class_names) - 1
    for split, part in splits.items():
        if len(part) and not 0 <= part.labels.min() <= part.labels.max() <= last:
            low, high = part.labels.min(), part.labels.max()
            raise wrong_data(where, f"labels of {split} run from {low} to {high}, out of range; 0 to {last} work")
    return _checked(Source(name=name, class_names=tuple(class_names), splits=splits, **rest), where)


def numbered_source(name: str, where: object, splits: dict[str, Split], **rest: Any) -> Source:
    """A source without names of classes: they are called by the numbers that occur in the training split."""
    known = np.unique(splits["train"].labels)
    for split, part in splits.items():
        strange = np.setdiff1d(part.labels, known)
        if len(strange) or (known < 0).any():
            found = strange[0] if len(strange) else known[0]
            raise wrong_data(where, f"label {found} in {split} is out of range; the training labels are {_span(known)}")
    renumbered = {s: Split(pictures=p.pictures, labels=np.searchsorted(known, p.labels)) for s, p in splits.items()}
    return _checked(Source(name=name, class_names=tuple(str(v) for v in known), splits=renumbered, **rest), where)


def as_labels(values: Any, where: object, what: str) -> np.ndarray:
    """Whole numbers (N,) as int64 from an array of numbers (N,) or (N, 1)."""
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise wrong_data(where, f"{what} has shape {labels.shape}; one label for each picture works")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        row = int(np.argmin(np.isfinite(labels)))
        raise wrong_data(where, f"{what} holds NaN in row {row}; every picture needs a label")
    if labels.dtype.kind not in "biuf" or (labels.dtype.kind == "f" and (labels != np.round(labels)).any()):
        raise wrong_data(where, f"{what} holds values such as {labels[:1].tolist()}; whole numbers work")
    return labels.astype(np.int64)


def as_pictures(values: np.ndarray, where: object, what: str) -> np.ndarray:
    """uint8 (N, H, W) or (N, H, W, C) from whole numbers 0..255 or fractions 0..1."""
    if values.ndim not in (3, 4) or (values.ndim == 4 and values.shape[-1] not in (1, 2, 3, 4)):
        raise wrong_data(where, f"{what} has shape {values.shape}; (N, H, W) or (N, H, W, channels) works")
    if values.dtype == np.uint8 or not values.size:
        return values.astype(np.uint8, copy=False)
    low, high = values.min(), values.max()
    if values.dtype.kind not in "iuf" or not (low >= 0 and high <= 255):
        raise wrong_data(where, f"{what} holds {values.dtype} from {low} to {high}; 0 to 255, or 0 to 1, works")
    return np.round(values * (255.0 if values.dtype.kind == "f" and high <= 1 else 1.0)).astype(np.uint8)


def guess(word: str, choices: Sequence[str]) -> str:
    found = nearest(word, choices)
    return f"; did you mean {found!r}?" if found else ""


def _checked(source: Source, where: object) -> Source:
    if len(source.splits["train"]) == 0:
        raise wrong_data(where, "there is no picture to train on")
    if len(source.class_names) < 2:
        raise wrong_data(where, f"there is one class only ({source.class_names[0]}); two or more work")
    for split, part in source.splits.items():
        if len(part.pictures) != len(part.labels):
            found = f"{len(part.pictures)} pictures and {len(part.labels)} labels"
            raise wrong_data(where, f"{split} has {found}; equal numbers work")
    return source


def _span(known: np.ndarray) -> str:
    return f"{known[0]} to {known[-1]}" if len(known) else "none"
