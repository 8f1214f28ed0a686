"""A folder of pictures with one sub-folder per class, or such a folder in each of train/, val/ and test/."""

import hashlib
import os
from pathlib import Path

import numpy as np

from evaluators.data.source import SPLIT_WORDS, Source, Split, guess, named_source, stamp_of, wrong_data

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))


def open_folder(root: Path) -> Source:
    """The classes are the folders of the training split, in alphabetical order."""
    found = {split: _pictures_by_class(folder) for split, folder in _split_folders(root).items()}
    if "train" not in found:
        raise wrong_data(root, f"there is no folder train/ beside {', '.join(sorted(found))}/")
    classes = sorted(found["train"])
    if not classes:
        raise wrong_data(root, f"found no pictures in folders named by class ({', '.join(sorted(SUFFIXES))})")
    for split, by_class in found.items():
        for name in set(by_class) - set(classes):
            raise wrong_data(root, f"class {name!r} of {split} is not in train{guess(name, classes)}")
    splits = {split: _to_split(by_class, classes) for split, by_class in found.items()}
    stamp = _stamp([str(p) for s in splits.values() for p in s.pictures], [root])
    return named_source(root.resolve().name, root, splits, classes, stamp=stamp)


def _split_folders(root: Path) -> dict[str, Path]:
    """train/, val/ and test/ where there are such, otherwise the folder itself as training split."""
    inside = {SPLIT_WORDS[f.name.lower()]: f for f in _folders(root) if f.name.lower() in SPLIT_WORDS}
    return inside if "train" in inside or len(inside) == len(_folders(root)) > 0 else {"train": root}


def _pictures_by_class(folder: Path) -> dict[str, list[Path]]:
    found = {f.name: _pictures(f) for f in _folders(folder)}
    return {name: pictures for name, pictures in found.items() if pictures}


def _pictures(folder: Path) -> list[Path]:
    """All pictures at any depth, in a fixed order."""
    found = (Path(at) / name for at, _, names in os.walk(folder, followlinks=True) for name in names)
    return sorted(p for p in found if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def _folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def _to_split(by_class: dict[str, list[Path]], classes: list[str]) -> Split:
    pictures = [p for name in classes for p in by_class.get(name, ())]
    sizes = [len(by_class.get(name, ())) for name in classes]
    return Split(pictures=pictures, labels=np.repeat(np.arange(len(classes)), sizes))


def _stamp(names: list[str], roots: list[Path]) -> str:
    """Names, sizes and times of all pictures."""
    listing = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    return listing + stamp_of([Path(n) for n in names] + roots)
