"""A dataset in memory: uint8 images (N, C, H, W), labels, names of the classes, and three splits that never overlap."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Pictures for a search. Train on train_*, compare on val_*; touch test_* for the final front alone.

    Images are uint8 (N, C, H, W), labels int64 (N,). mean, std: of the training images per channel, on a scale of 0 to 1.
    notes: what a user should know, such as pictures left out. fingerprint: the same for the same images and splits.
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
