"""Peak memory against sums that can be done by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from evaluators.cost import cost_metrics, least_training_mb
from evaluators.memory import highest, inference_memory, peak_bytes, training_memory
from search_spaces.model import build
from search_spaces.vit import make_space

CPU = torch.device("cpu")


def test_the_highest_running_total():
    assert highest([5, -2, 4, -7, 3]) == 7
    assert highest([-3, 2]) == 0


def test_temporaries_count_while_they_live():
    def run() -> None:
        a = torch.empty(1000)
        b = torch.empty(500)
        del a
        torch.empty(700)
        del b

    run()
    assert peak_bytes(run, CPU) == pytest.approx(4 * 1500, abs=256)


def test_inference_holds_weights_images_and_the_largest_pair_of_activations():
    network = nn.Sequential(nn.Linear(100, 4000, bias=False), nn.ReLU(), nn.Linear(4000, 10, bias=False))
    found = inference_memory(network, torch.randn(8, 100))
    by_hand = 4 * (100 * 4000 + 4000 * 10 + 8 * 100 + 8 * 4000 * 2) / 1e6
    assert (found.phase, found.label) == ("inference", "measured")
    assert found.mb == pytest.approx(by_hand, rel=0.01)


def test_training_holds_gradients_and_two_moments():
    network = nn.Linear(1000, 1000, bias=False)
    before = network.weight.detach().clone()
    found = training_memory(network, torch.randn(1, 1000))
    assert found.mb == pytest.approx(4 * 4, rel=0.6)
    assert found.mb >= 4 * 4
    assert torch.equal(network.weight, before)
    assert network.weight.grad is None


def test_training_leaves_modes_as_they_were():
    network = nn.Sequential(nn.Dropout(), nn.Linear(4, 2)).train()
    network[0].eval()
    training_memory(network, torch.randn(2, 4))
    assert (network.training, network[0].training, network[1].training) == (True, False, True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_counts_like_the_processor():
    network, images = nn.Sequential(nn.Linear(100, 4000), nn.ReLU(), nn.Linear(4000, 10)), torch.randn(8, 100)
    on_cpu = inference_memory(network, images).mb
    assert inference_memory(network.cuda(), images.cuda()).mb == pytest.approx(on_cpu, rel=0.2)


def test_no_training_takes_less_than_the_bound_that_is_known_before_building():
    shape, rng = {"image_size": 8, "in_chans": 1, "classes": 10}, np.random.default_rng(1)
    space = make_space("vit_small", **shape)
    for genotype in (space.decode(space.sample(rng)) for _ in range(3)):
        bound = least_training_mb(cost_metrics(genotype, **shape), 8)
        found = training_memory(build(genotype, **shape), torch.rand(8, 1, 8, 8)).mb
        assert 0.3 * found < bound < found
