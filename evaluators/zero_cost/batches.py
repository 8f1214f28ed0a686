"""Mini-batches of a campaign's own pictures, as its training sees them before any augmentation."""

import torch

from evaluators.data.dataset import Dataset
from evaluators.zero_cost.base import Batch

COUNT, SIZE = 2, 16  # two mini-batches are the least for zico


def mini_batches(data: Dataset, *, count: int = COUNT, size: int = SIZE, seed: int = 0) -> list[Batch]:
    """Different training pictures, drawn from `seed` and normalised. Fewer at a time where there are not enough."""
    order = torch.randperm(len(data.train_y), generator=torch.Generator().manual_seed(seed))
    size = min(size, len(order) // count)
    mean, std = torch.tensor((data.mean, data.std))[:, None, :, None, None]
    rows = order[: count * size].split(size)
    return [((data.train_x[row] / 255 - mean) / std, data.train_y[row]) for row in rows]
