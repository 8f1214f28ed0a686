"""A folder of IDX files, the form of MNIST, gz or not: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..."""

import gzip
import re
import zlib
from pathlib import Path

import numpy as np

from evaluators.data.source import (
    SPLIT_WORDS,
    Source,
    Split,
    as_labels,
    as_pictures,
    numbered_source,
    stamp_of,
    wrong_data,
)

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(r"(train|t10k|test|val|valid|validation)[-_.](images|labels)[-_.]idx\d[-_.]ubyte(\.gz)?$")


def idx_files(folder: Path) -> dict[tuple[str, str], Path]:
    """(split, "images" or "labels") -> file, for what the folder holds of them."""
    matches = [(NAME.match(f.name), f) for f in sorted(folder.iterdir())]
    return {(SPLIT_WORDS[m[1]], m[2]): f for m, f in matches if m}


def open_idx(folder: Path) -> Source:
    files = idx_files(folder)
    splits = {}
    for split in sorted({s for s, _ in files}):
        for kind in ("images", "labels"):
            if (split, kind) not in files:
                raise wrong_data(folder, f"the {kind} of {split} are missing beside {next(iter(files.values())).name}")
        pictures = as_pictures(read_idx(files[split, "images"]), folder, f"{split} images")
        labels = as_labels(read_idx(files[split, "labels"]), folder, f"{split} labels")
        splits[split] = Split(pictures=pictures, labels=labels)
    if "train" not in splits:
        raise wrong_data(folder, "there are no training files (train-images-idx3-ubyte, train-labels-idx1-ubyte)")
    return numbered_source(folder.name, folder, splits, stamp=stamp_of(list(files.values())))


def read_idx(path: Path) -> np.ndarray:
    """One IDX array. Header: two zero bytes, type, number of axes, then the axes as big-endian 32-bit numbers."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise wrong_data(path, f"cannot be read ({error})") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or len(data) < 4 + 4 * data[3]:
        raise wrong_data(path, f"is not an IDX file (it begins with {data[:4].hex(' ')})")
    shape = np.frombuffer(data, ">u4", count=data[3], offset=4).tolist()
    dtype = np.dtype(TYPES[data[2]])
    body = len(data) - 4 - 4 * data[3]
    if body != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise wrong_data(path, f"is cut short: {body} bytes for an array of {shape}")
    return np.frombuffer(data, dtype, offset=4 + 4 * data[3]).reshape(shape)
