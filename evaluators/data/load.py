"""load_dataset: find out what a source is, split it, decode what is needed."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import evaluators.data.digits  # noqa: F401
from evaluators.data.builtin import DATASETS
from evaluators.data.cache import cached
from evaluators.data.dataset import Dataset
from evaluators.data.folder import open_folder
from evaluators.data.idx import idx_files, open_idx
from evaluators.data.npz import open_npz
from evaluators.data.parquet import open_parquet
from evaluators.data.pictures import Format, decode, find_format
from evaluators.data.source import SPLITS, Source, Split, guess, wrong_data
from evaluators.data.splits import stratified
from nas.errors import UserError

TEST_SHARE = 0.2  # of the pictures, where a source has no test split
TEST_SEED = 0  # not the campaign's: campaigns with other seeds are to be compared on the same test split
UNREADABLE_SHARE = 0.01  # more than this is fatal
LISTED = 10  # unreadable pictures named in the note


def load_dataset(
    source: str,
    *,
    image_size: int | None,
    in_chans: int | None = None,
    validation: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """A built-in dataset or a path: folder of pictures by class, parquet file(s), .npz file, folder of IDX files.

    image_size, in_chans: what pictures are brought to; None keeps their own. validation: share of the training pictures
    that is set aside, stratified, where the source has no validation split. limit: how many training pictures to use,
    those for validation included; the test split is never cut. Raises UserError, one line.
    """
    if not 0 < validation < 1:
        raise UserError(f"data.validation: {validation} does not work; give a share between 0 and 1, such as 0.2")
    found = open_source(source)
    form = find_format(found.splits["train"], image_size, in_chans, source)
    splits = divide(found, validation=validation, limit=limit, seed=seed)
    key = _digest(found.stamp, form, validation, limit, seed)
    size = sum(len(s) for s in splits.values()) * form.chans * form.size**2
    arrays, notes = cached(key, size, lambda: _decode_all(splits, form, source))
    mean, std = _statistics(arrays["train_x"])
    return Dataset(
        name=found.name, class_names=found.class_names, mean=mean, std=std,
        notes=(*found.notes, *notes), fingerprint=_fingerprint(arrays), **arrays,
    )  # fmt: skip


def open_source(source: str) -> Source:
    """Read what is at `source` without decoding pictures."""
    if source in DATASETS:
        return DATASETS[source]()
    path = Path(source).expanduser()
    if any(c in source for c in "*?[") and not path.exists():
        files = sorted(f for f in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if f.suffix == ".parquet")
        if not files:
            raise wrong_data(source, "no parquet file matches")
        return open_parquet(files, source)
    if not path.exists():
        names = list(DATASETS)
        raise wrong_data(source, f"there is no such file or folder; built in: {', '.join(names)}{guess(source, names)}")
    return _open_folder(path) if path.is_dir() else _open_file(path)


def _open_file(path: Path) -> Source:
    if path.suffix == ".parquet":
        return open_parquet([path], path)
    if path.suffix == ".npz":
        return open_npz(path)
    raise wrong_data(path, "cannot tell what this file is; a .parquet or .npz file works, or a folder")


def _open_folder(path: Path) -> Source:
    if not any(path.iterdir()):
        raise wrong_data(path, "the folder is empty")
    parquet = sorted(path.glob("*.parquet")) or sorted(path.glob("*/*.parquet"))
    if parquet:
        return open_parquet(parquet, path)
    return open_idx(path) if idx_files(path) else open_folder(path)


def divide(source: Source, *, validation: float, limit: int | None, seed: int) -> dict[str, Split]:
    """Exactly train, val and test: those that the source lacks are taken from its training split."""
    splits, train = dict(source.splits), source.splits["train"]
    if "test" not in splits or not len(splits["test"]):
        held = stratified(train.labels, round(TEST_SHARE * len(train)), np.random.default_rng(TEST_SEED))
        train, splits["test"] = _rows(train, ~held), _rows(train, held)
    if limit is not None:
        least = 2 * len(source.class_names)
        if limit < least:
            raise UserError(f"data.limit: {limit} is too small for {least // 2} classes; give {least} or more")
        train = _rows(train, stratified(train.labels, limit, np.random.default_rng(seed)))
    if "val" not in splits or not len(splits["val"]):
        held = stratified(train.labels, round(validation * len(train)), np.random.default_rng(seed))
        train, splits["val"] = _rows(train, ~held), _rows(train, held)
    splits["train"] = train
    for split in SPLITS:
        if not len(splits[split]):
            found = len(source.splits["train"])
            raise UserError(f"data.source: {found} pictures are too few, nothing is left for {split}")
    return {split: splits[split] for split in SPLITS}


def _rows(split: Split, mask: np.ndarray) -> Split:
    rows = np.flatnonzero(mask)
    if isinstance(split.pictures, np.ndarray):
        return replace(split, pictures=split.pictures[rows], labels=split.labels[rows])
    return replace(split, pictures=Chosen(split.pictures, rows), labels=split.labels[rows])


class Chosen(Sequence[Path | bytes]):
    """Some pictures of a sequence, fetched when asked for."""

    def __init__(self, pictures: Sequence[Path | bytes], rows: np.ndarray) -> None:
        self._pictures, self._rows = pictures, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        return self._pictures[int(self._rows[i])]


def _decode_all(splits: dict[str, Split], form: Format, where: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    arrays, lost = {}, []
    for split, part in splits.items():
        arrays[f"{split}_x"], bad = decode(part, form)
        arrays[f"{split}_y"] = torch.from_numpy(np.delete(part.labels, bad))
        lost += [_name(part.pictures[i], f"{split} row {i}") for i in bad]
    if not lost:
        return arrays, []
    total = sum(len(s) for s in splits.values())
    listing = ", ".join(lost[:LISTED]) + (", ..." if len(lost) > LISTED else "")
    what = f"{len(lost)} of {total} pictures cannot be read"
    if len(lost) > UNREADABLE_SHARE * total:
        raise wrong_data(where, f"{what}, more than {UNREADABLE_SHARE:.0%}: {listing}")
    return arrays, [f"{what} and are left out: {listing}"]


def _name(picture: object, otherwise: str) -> str:
    return str(picture) if isinstance(picture, Path) else otherwise


def _statistics(x: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel on a scale of 0 to 1, exact sums in parts."""
    total, squares = torch.zeros(x.shape[1], dtype=torch.float64), torch.zeros(x.shape[1], dtype=torch.float64)
    for part in x.split(1024):
        values = part.transpose(0, 1).flatten(1).float() / 255
        total += values.sum(1, dtype=torch.float64)
        squares += values.square().sum(1, dtype=torch.float64)
    count = x.numel() / x.shape[1]
    mean = total / count
    std = (squares / count - mean**2).clamp_min(0).sqrt().clamp_min(1e-3)  # a channel may be constant
    return tuple(mean.tolist()), tuple(std.tolist())


def _fingerprint(arrays: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{tuple(arrays[name].shape)}".encode())
        digest.update(arrays[name].contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
