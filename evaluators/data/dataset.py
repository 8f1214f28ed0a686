"""A dataset in memory: uint8 images (N, C, H, W), labels, names of the classes, and three splits that never overlap."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Pictures for a search. Train on train_*, compare on val_*; touch test_* for the final front alone.

    Images are uint8 (N, C, H, W), labels int64 (N,). mean, std: of the training images per channel, on a scale of
    0 to 1. notes: what a user should know, such as pictures left out. fingerprint: the same for the same images and
    splits.
    """

    name: str
    class_names: tuple[str, ...]
    train_x: Tensor
    train_y: Tensor
    val_x: Tensor
    val_y: Tensor
    test_x: Tensor | None
    test_y: Tensor | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...]
    fingerprint: str

    @property
    def image_size(self) -> int:
        return int(self.train_x.shape[-1])

    @property
    def in_chans(self) -> int:
        return int(self.train_x.shape[1])

    @property
    def classes(self) -> int:
        return len(self.class_names)

    def facts(self) -> dict[str, Any]:
        """What a record of results must say about its data; plain JSON."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "image_size": self.image_size,
            "in_chans": self.in_chans,
            "classes": self.classes,
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "train": len(self.train_y),
            "validation": len(self.val_y),
            "test": 0 if self.test_y is None else len(self.test_y),
        }
