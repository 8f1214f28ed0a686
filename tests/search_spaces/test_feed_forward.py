"""What is special to the inverted residual, the normed skip of Mix-FFN and the mixture of experts."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.costs import Cost
from search_spaces.ffn.inverted_residual import InvertedResidual
from search_spaces.ffn.mix import MixFeedForward
from search_spaces.ffn.mixture import MixtureOfExperts, TopGate, imbalance
from search_spaces.ffn.mlp import Mlp
from search_spaces.layer import to_map, to_tokens
from tests.search_spaces.counting import randomised


def normal(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(1))


def test_inverted_residual_equals_convolutions_with_batch_norm() -> None:
    ffn, x = randomised(InvertedResidual(8, (3, 4), ratio=2)), normal(2, 12, 8)
    for norm in (ffn.norm1, ffn.norm2, ffn.norm3):
        norm.running_mean, norm.running_var = normal(norm.num_features), normal(norm.num_features).square() + 0.5

    def normed(norm: nn.BatchNorm1d, z: Tensor) -> Tensor:
        return F.batch_norm(z, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    u = F.conv2d(to_map(x, (3, 4)), ffn.fc1.weight[..., None, None], ffn.fc1.bias)
    u = normed(ffn.norm1, F.gelu(u))
    v = normed(ffn.norm2, F.gelu(u + F.conv2d(u, ffn.dwconv.weight, ffn.dwconv.bias, padding=1, groups=16)))
    wanted = normed(ffn.norm3, F.conv2d(v, ffn.fc2.weight[..., None, None], ffn.fc2.bias))
    torch.testing.assert_close(ffn(x), to_tokens(wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [InvertedResidual, MixFeedForward])
def test_prefix_tokens_pass_by_the_convolution(kind: type) -> None:
    ffn, x = randomised(kind(8, (3, 4))), normal(1, 14, 8)
    moved = x.clone()
    moved[:, 2:] += 1
    torch.testing.assert_close(ffn(x)[:, :2], ffn(moved)[:, :2])


def test_normed_skip_ignores_the_scale_of_the_hidden_layer() -> None:
    ffn, x = randomised(MixFeedForward(16, (3, 4), ratio=2, skip_norm=True)), normal(1, 13, 16)
    before = ffn(x)
    for tensor in (ffn.fc1.weight, ffn.fc1.bias, ffn.dwconv.bias):
        tensor.data *= 7
    torch.testing.assert_close(ffn(x), before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_mixture_equals_token_by_token(top_k: int) -> None:
    ffn, x = randomised(MixtureOfExperts(8, None, ratio=3, experts=3, top_k=top_k)), normal(2, 6, 8)
    wanted = torch.zeros_like(x)
    for image in range(2):
        for token in range(6):
            shares = (ffn.gate.proj.weight @ x[image, token]).softmax(dim=0)
            for expert in sorted(range(3), key=lambda e: -shares[e])[:top_k]:
                wanted[image, token] += shares[expert] * ffn.experts[expert](x[image, token])
    torch.testing.assert_close(ffn(x), wanted)


def test_mixture_of_one_expert_is_the_mlp() -> None:
    ffn, x = randomised(MixtureOfExperts(8, None, ratio=2, experts=1)), normal(2, 6, 8)
    torch.testing.assert_close(ffn(x), ffn.experts[0](x))


def test_experts_of_a_token_cost_one_mlp_of_the_ratio() -> None:
    """Dense dispatch computes all four experts, two of which a token is sent to."""
    found = MixtureOfExperts.cost(dim=16, tokens=9, prefix=1, ratio=4, experts=4, top_k=2)
    dense, gate = Mlp.cost(dim=16, tokens=9, prefix=1, ratio=4), Cost(macs=10 * 16 * 4)
    assert found.macs == 2 * dense.macs + gate.macs


def test_renormalised_weights_are_the_softmax_over_the_chosen() -> None:
    gate, x = randomised(TopGate(8, 5, 2, renormalise=True)), normal(2, 6, 8)
    weights, chosen = gate(x)
    torch.testing.assert_close(weights, (x @ gate.proj.weight.T).gather(2, chosen).softmax(dim=2))


def test_imbalance_is_nothing_when_even_and_largest_when_one_expert_does_all() -> None:
    weights, all_experts = torch.full((2, 6, 4), 0.25), torch.arange(4).expand(2, 6, 4)
    assert imbalance(weights, all_experts, 4) == 0
    assert imbalance(weights[..., :1], all_experts[..., 2:3], 4).item() == pytest.approx(2 * 4)


def test_training_adds_the_gradient_of_the_imbalance() -> None:
    x, grads = normal(2, 20, 8), []
    for balance in (0.0, 0.5):
        gate = randomised(TopGate(8, 5, 2, noise=0, balance=balance)).train()
        gate(x)[0].square().sum().backward()
        grads.append(gate.proj.weight.grad)
    gate.zero_grad()
    weights, chosen = gate.eval()(x)
    imbalance(weights, chosen, 5).backward()
    torch.testing.assert_close(grads[1] - grads[0], 0.5 * gate.proj.weight.grad)


def test_noise_explores_experts_in_training_only() -> None:
    gate, x = randomised(TopGate(8, 5, 1)), normal(4, 50, 8)
    assert torch.equal(gate(x)[1], gate(x)[1])
    gate.train()
    assert not torch.equal(gate(x)[1], gate(x)[1])
