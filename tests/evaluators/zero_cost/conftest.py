"""Small networks and mini-batches shared by the tests of the scores."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from evaluators.zero_cost.base import Batch, Subject


@pytest.fixture
def subject_for() -> Callable[..., Subject]:
    """A network at hand as a subject."""

    def make(network: nn.Module, **sizes: float) -> Subject:
        known = {"params_m": 1.0, "macs_g": 1.0, "depth": 1} | sizes
        return Subject(make=lambda seed: network, **known)

    return make


@pytest.fixture
def batches() -> list[Batch]:
    """Two mini-batches of six images of 1 x 3 x 3, in four classes."""
    draw = torch.Generator().manual_seed(3)
    return [(torch.randn(6, 1, 3, 3, generator=draw), torch.randint(0, 4, (6,), generator=draw)) for _ in range(2)]
