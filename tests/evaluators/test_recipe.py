"""Schedule, optimizer and average against their formulas."""

import math

import pytest
import torch
from torch import nn

from evaluators.recipe import Recipe, averaged, learning_rate, make_optimizer


def test_learning_rate_rises_linearly_then_falls_by_a_cosine():
    recipe = Recipe(epochs=10, warmup_epochs=2, lr=1.0)
    rates = [learning_rate(s, recipe, per_epoch=5) for s in range(50)]
    assert rates[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert rates[10:] == pytest.approx([0.5 + 0.5 * math.cos(math.pi * s / 40) for s in range(40)])


def test_warm_up_takes_at_most_half_of_a_short_training():
    rates = [learning_rate(s, Recipe(epochs=1, warmup_epochs=5, lr=1.0), per_epoch=8) for s in range(8)]
    assert max(rates) == rates[3] == 1.0
    assert rates[-1] < 0.2


def test_only_weights_of_linear_and_convolution_layers_decay():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    network.table = nn.Parameter(torch.zeros(3, 4))
    decayed, free = make_optimizer(network, Recipe(weight_decay=0.1), torch.device("cpu")).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 1, 3, 3), (2, 4)]
    assert decayed["weight_decay"] == 0.1
    assert len(free["params"]) == 5
    assert free["weight_decay"] == 0.0


def test_average_follows_the_weights_by_its_formula():
    network = nn.Linear(1, 1, bias=False)
    average, expected = averaged(network, 0.5), None
    for step, value in enumerate((1.0, 3.0, -2.0, 5.0, 0.0)):
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
        kept = min(0.5, (1 + step) / (10 + step))
        expected = value if expected is None else kept * expected + (1 - kept) * value
        assert average.module.weight.item() == pytest.approx(expected)
