"""Decoded pictures on disk: the workers of a campaign decode them once and share the memory they are mapped into."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

Arrays = dict[str, torch.Tensor]
SMALL = 4 * 2**20  # bytes; less is decoded faster than it is found


def cache_folder() -> Path:
    """$VITNAS_CACHE, or vitnas/ in $XDG_CACHE_HOME, or ~/.cache/vitnas."""
    if own := os.environ.get("VITNAS_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitnas"


def cached(key: str, bytes_expected: int, make: Callable[[], tuple[Arrays, list[str]]]) -> tuple[Arrays, list[str]]:
    """What `make` returns (tensors and notes), from the cache if it is there. One process makes, the others wait."""
    if bytes_expected < SMALL:
        return make()
    folder = cache_folder() / key
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.with_name(key + ".lock")):
            if not folder.exists():
                _write(folder, *make())
    except OSError:  # a full or read-only disk must not stop a campaign that fits into memory
        return make()
    try:
        return _read(folder)
    except (OSError, ValueError, EOFError):  # damaged, such as by a power cut
        shutil.rmtree(folder, ignore_errors=True)
        return make()


def _write(folder: Path, arrays: Arrays, notes: list[str]) -> None:
    """Complete or not at all: written aside, then renamed."""
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=folder.name + "."))
    try:
        for name, array in arrays.items():
            np.save(aside / f"{name}.npy", array.numpy(), allow_pickle=False)
        (aside / "notes.json").write_text(json.dumps(notes))
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _read(folder: Path) -> tuple[Arrays, list[str]]:
    """Mapped copy-on-write, since PyTorch wants memory it may write to."""
    files = sorted(folder.glob("*.npy"))
    arrays = {f.stem: torch.from_numpy(np.load(f, mmap_mode="c", allow_pickle=False)) for f in files}
    return arrays, json.loads((folder / "notes.json").read_text())


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
