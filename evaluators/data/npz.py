"""A .npz file with train_images, train_labels, maybe val_* and test_*: the form of MedMNIST (arXiv 2110.14795)."""

import zipfile
from pathlib import Path

import numpy as np

from evaluators.data.source import SPLITS, Source, Split, as_labels, as_pictures, numbered_source, stamp_of, wrong_data


def open_npz(path: Path) -> Source:
    """Read it. Never unpickles: arrays of Python objects are refused."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files if key.endswith(("_images", "_labels"))}
            found = file.files
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise wrong_data(path, f"cannot be read as .npz ({_first_line(error)})") from None
    for key in ("train_images", "train_labels"):
        if key not in arrays:
            raise wrong_data(path, f"array {key!r} is missing; it holds {', '.join(found) or 'nothing'}")
    splits = {}
    for split in SPLITS:
        images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
        if images is None or labels is None:
            continue
        pictures = as_pictures(images, path, f"{split}_images")
        splits[split] = Split(pictures=pictures, labels=as_labels(labels, path, f"{split}_labels"))
    return numbered_source(path.stem, path, splits, stamp=stamp_of([path]))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
