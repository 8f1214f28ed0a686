"""Random networks of every profile weigh exactly and compute within half a per cent what PyTorch counts."""

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from evaluators.cost import count
from search_spaces.costs import Cost
from search_spaces.mixers import MIXERS
from search_spaces.mixers.key_dictionary import KeyDictionary
from search_spaces.model import build
from search_spaces.vit import SPACES, make_space
from tests.search_spaces.counting import measured

PROFILES = {"vit_small": (8, 32, 64), "vit_224": (224,)}
NETWORKS = 300  # of every profile


def shapes_alone(network: nn.Module, size: int) -> Cost:
    """Nothing is computed. (Autocast does not know the meta device.)"""
    if any(isinstance(module, KeyDictionary) for module in network.modules()):
        with FakeTensorMode(allow_non_fake_inputs=True):
            return measured(network, torch.empty(1, 3, size, size))
    return measured(network.to("meta"), torch.empty(1, 3, size, size, device="meta"))


def test_every_profile_is_counted() -> None:
    assert set(PROFILES) == set(SPACES)


@pytest.mark.parametrize("part", range(6))
@pytest.mark.parametrize("name", SPACES)
def test_random_networks_cost_what_pytorch_counts(name: str, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for draw in ("trunc_normal_", "normal_", "kaiming_uniform_", "uniform_"):  # weights do not matter here
        monkeypatch.setattr(nn.init, draw, lambda tensor, *args, **settings: tensor)
    rng = np.random.default_rng(part)
    for number in range(NETWORKS // 6):
        size = PROFILES[name][number % len(PROFILES[name])]
        space = make_space(name, image_size=size, classes=10)
        genotype = space.decode(space.sample(rng))
        said = count(genotype, image_size=size, classes=10).total
        network = build(genotype, image_size=size, classes=10).requires_grad_(False)
        seen = shapes_alone(network, size)
        assert seen.params == said.params, genotype
        hidden = any(MIXERS[kind].hidden_macs for kind in genotype.mechanisms())
        assert seen.macs <= 1.005 * said.macs, genotype
        assert hidden or seen.macs >= 0.995 * said.macs, genotype
