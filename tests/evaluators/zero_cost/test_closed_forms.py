"""Every score against what follows from its definition by hand, by loops or by another library."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evaluators.zero_cost.compute import compute_scores
from evaluators.zero_cost.dss import nuclear_norm
from evaluators.zero_cost.jacov import EPSILON
from evaluators.zero_cost.naswot import agreements


@pytest.fixture
def score(subject_for, batches):
    """One score of a network; a failure is an error here."""

    def compute(network, name, pictures=batches, seed=0):
        found = compute_scores(subject_for(network), pictures, [name], seed=seed)
        assert not found.errors
        return found.values[name]

    return compute


def chain(*widths, bias=False):
    torch.manual_seed(0)
    layers = [nn.Linear(a, b, bias=bias) for a, b in pairwise(widths)]
    return nn.Sequential(nn.Flatten(), *layers)


def softmax_slopes(network, batches):
    """(images, probabilities minus truth) of a network of one linear layer, over all images."""
    x, y = torch.cat([x for x, _ in batches]).flatten(1), torch.cat([y for _, y in batches])
    return x, (x @ network[1].weight.detach().T).softmax(1) - F.one_hot(y, 4)


def test_synflow_of_a_linear_chain_is_its_length_times_the_product_of_absolute_weights(score):
    network = chain(9, 5, 7, 4)
    a, b, c = (layer.weight.detach().abs().numpy() for layer in network[1:])
    assert score(network, "synflow") == pytest.approx(3 * (c @ b @ a @ np.ones(9)).sum(), rel=1e-5)


def test_log_synflow_of_one_layer_is_log_two_times_its_weights(score):
    network = chain(9, 4)
    assert score(network, "log_synflow") == pytest.approx(math.log(2) * network[1].weight.abs().sum().item(), rel=1e-5)


def test_grad_norm_and_snip_of_one_layer_by_hand(score, batches):
    network = chain(9, 4)
    x, slope = softmax_slopes(network, batches)
    gradient = slope.T @ x / len(x)
    assert score(network, "grad_norm") == pytest.approx(gradient.square().sum().sqrt().item(), rel=1e-4)
    assert score(network, "snip") == pytest.approx((network[1].weight * gradient).abs().sum().item(), rel=1e-4)


def test_fisher_of_one_layer_by_hand(score, batches):
    network = chain(9, 4)
    x, slope = softmax_slopes(network, batches)
    per_image = (x @ network[1].weight.detach().T) * slope
    assert score(network, "fisher") == pytest.approx(per_image.square().mean(0).sum().item() / 2, rel=1e-4)


def test_fisher_sums_over_the_places_of_a_channel_before_it_squares(score, batches):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    information = []
    for x, y in batches:
        a = network[0](x).detach()
        slope = (a.mean((2, 3)).softmax(1) - F.one_hot(y, 4))[:, :, None, None] / 4
        information.append((a * slope).sum((2, 3)).square().mean(0).sum() / 2)
    assert score(network, "fisher") == pytest.approx(sum(information).item() / 2, rel=1e-4)


def test_zico_by_loops(score, batches):
    network, gradients = chain(9, 4), []
    for batch in batches:
        x, slope = softmax_slopes(network, [batch])
        gradients.append((slope.T @ x / len(x)).abs().double().numpy())
    total = 0.0
    for i, j in product(range(4), range(9)):
        values = [g[i, j] for g in gradients]
        total += np.mean(values) / np.std(values)
    assert score(network, "zico") == pytest.approx(math.log(total), rel=1e-3)


def test_grasp_agrees_with_finite_differences_of_the_gradient(score, batches):
    network, (images, labels) = chain(9, 4).double(), batches[0]
    weight = network[1].weight

    def gradient(at):
        leaf = at.detach().clone().requires_grad_()
        loss = F.cross_entropy(images.double().flatten(1) @ leaf.T, labels)
        return torch.autograd.grad(loss, leaf)[0]

    g, step = gradient(weight), 1e-4
    curved = (gradient(weight + step * g) - gradient(weight - step * g)) / (2 * step)
    double = [(x.double(), y) for x, y in batches]
    assert score(network, "grasp", double) == pytest.approx(-(weight * curved).sum().item(), rel=1e-5)


def test_jacov_of_a_linear_network_whose_jacobians_are_all_alike(score):
    expected = math.log(12 + EPSILON) + 1 / (12 + EPSILON) + 11 * (math.log(EPSILON) + 1 / EPSILON)
    assert score(chain(9, 4), "jacov") == pytest.approx(-expected, rel=1e-6)


def test_the_naswot_kernel_counts_units_that_agree():
    codes = torch.rand(5, 33, generator=torch.Generator().manual_seed(0)) > 0.4
    by_hand = [[sum(a == b for a, b in zip(x, y, strict=True)) for y in codes.tolist()] for x in codes.tolist()]
    assert agreements(codes).tolist() == by_hand


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.SiLU()], ids=["relu", "gelu", "silu"])
def test_naswot_is_the_log_determinant_of_hamming_agreements(score, batches, activation):
    network = nn.Sequential(*chain(9, 30, 4, bias=True)[:2], activation, nn.Linear(30, 4))
    codes = (network[1](torch.cat([x for x, _ in batches]).flatten(1)) > 0).numpy()
    kernel = [[30 - np.count_nonzero(a != b) for b in codes] for a in codes]
    assert score(network, "naswot") == pytest.approx(np.linalg.slogdet(kernel)[1], rel=1e-6)


class Mixed(nn.Module):
    """A mixer and a feed-forward, each one matrix."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        parts = {"mixer": nn.Sequential(nn.Linear(9, 6, bias=False)), "ffn": nn.Sequential(nn.Linear(6, 4, bias=False))}
        self.blocks = nn.ModuleList([nn.ModuleDict(parts)])

    def forward(self, x):
        return self.blocks[0]["ffn"](self.blocks[0]["mixer"](x.flatten(1)))


def test_dss_is_diversity_of_the_mixer_and_saliency_of_the_feed_forward(score):
    network = Mixed()
    mixer, ffn = (network.blocks[0][part][0].weight.detach().abs().numpy() for part in ("mixer", "ffn"))
    gradient = np.outer(ffn.sum(axis=0), np.ones(9))
    nuclear = [np.linalg.svd(matrix, compute_uv=False).sum() for matrix in (gradient, mixer)]
    assert score(network, "dss") == pytest.approx(nuclear[0] * nuclear[1] + (ffn @ mixer @ np.ones(9)).sum(), rel=1e-3)


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (4, 3, 2, 2)])
def test_the_nuclear_norm_is_the_sum_of_singular_values(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = np.linalg.svd(weight.flatten(1).numpy(), compute_uv=False)
    assert nuclear_norm(weight).item() == pytest.approx(values.sum())


class Featured(nn.Module):
    """Pixels times a factor, normed where it is asked to, as features."""

    def __init__(self, factor, norm):
        super().__init__()
        self.factor, self.norm = factor, norm

    def features(self, x):
        return self.norm(x * self.factor)


def test_zen_of_the_identity_is_the_log_of_the_step(score):
    images = [(torch.zeros(16, 1, 30, 30), torch.zeros(16, dtype=torch.long))]
    assert score(Featured(1.0, nn.Identity()), "zen", images) == pytest.approx(math.log(0.01 * 30), abs=0.01)


def test_zen_puts_back_what_a_batch_norm_divides_by(score):
    images = [(torch.zeros(16, 1, 30, 30), torch.zeros(16, dtype=torch.long))]
    small, large = (score(Featured(factor, nn.BatchNorm2d(1, eps=1e-12)), "zen", images) for factor in (1.0, 10.0))
    assert large - small == pytest.approx(math.log(10), rel=1e-4)
