"""What is special to channel attention, statistics, modulation, convolution, pooling and no mixing at all."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.genotype import Atom, Genotype, Stage
from search_spaces.costs import Shape
from search_spaces.mixers.channel_groups import ChannelGroups
from search_spaces.mixers.cross_covariance import CrossCovariance
from search_spaces.mixers.focal import FocalModulation
from search_spaces.mixers.mbconv import MBConv
from search_spaces.mixers.pooling import Pooling
from search_spaces.mixers.token_statistics import TokenStatistics
from search_spaces.model import build
from tests.search_spaces.counting import randomised


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def qkv(heads: int, tokens: int, head_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = normal(3, 2, heads, tokens, head_dim)
    return q, k, v


def doubled(tensors: tuple[Tensor, ...], dim: int = 2) -> tuple[Tensor, ...]:
    return tuple(torch.cat([t, t], dim=dim) for t in tensors)


def test_cross_covariance_is_attention_over_channels() -> None:
    core, (q, k, v) = randomised(CrossCovariance(8, 2, 4, None)), qkv(2, 15, 4)
    q_hat, k_hat = F.normalize(q, dim=2), F.normalize(k, dim=2)
    wanted = F.scaled_dot_product_attention((q_hat * core.temperature).mT, k_hat.mT, v.mT, scale=1.0)
    torch.testing.assert_close(core.attend(q, k, v), wanted.mT)


def test_cross_covariance_at_temperature_zero_averages_the_channels() -> None:
    core, (q, k, v) = CrossCovariance(8, 2, 4, None), qkv(2, 15, 4)
    torch.nn.init.zeros_(core.temperature)
    torch.testing.assert_close(core.attend(q, k, v), v.mean(3, keepdim=True).expand_as(v))


def test_cross_covariance_does_not_notice_duplicated_tokens() -> None:
    core, tensors = randomised(CrossCovariance(8, 2, 4, None)), qkv(2, 15, 4)
    torch.testing.assert_close(core.attend(*doubled(tensors))[:, :, :15], core.attend(*tensors))


def test_cross_covariance_is_finite_for_tokens_of_zeros() -> None:
    core, zeros = CrossCovariance(8, 2, 4, None), torch.zeros(1, 2, 5, 4, requires_grad=True)
    core.attend(zeros, zeros, zeros).sum().backward()
    assert torch.isfinite(zeros.grad).all()


@pytest.mark.parametrize(("scale", "factor"), [("tokens", 15**-0.5), ("channels", 4**-0.5)])
def test_channel_groups_are_attention_over_transposed_tokens(scale: str, factor: float) -> None:
    q, k, v = qkv(2, 15, 4)
    wanted = F.scaled_dot_product_attention(k.mT, v.mT, q.mT, scale=factor)
    torch.testing.assert_close(ChannelGroups(8, 2, 4, None, scale=scale).attend(q, k, v), wanted.mT)


def test_channel_groups_of_one_channel_return_the_query() -> None:
    q, k, v = qkv(8, 15, 1)
    torch.testing.assert_close(ChannelGroups(8, 8, 1, None).attend(q, k, v), q)


def test_channel_groups_name_the_scales_they_know() -> None:
    with pytest.raises(ValueError, match="tokens or channels"):
        ChannelGroups(8, 2, 4, None, scale="heads")


def test_focal_without_levels_has_its_closed_form() -> None:
    mixer, x = randomised(FocalModulation(8, 1, (5, 3), levels=0)), normal(2, 15, 8)
    q, z, gate = mixer.f(x).split((8, 8, 1), dim=2)
    context = gate * F.gelu(z.mean(1, keepdim=True))
    torch.testing.assert_close(mixer(x), mixer.proj(q * mixer.h(context)))


def test_focal_with_one_open_gate_is_a_depthwise_convolution() -> None:
    mixer, x = randomised(FocalModulation(8, 1, (5, 3), levels=1)), normal(2, 15, 8)
    for layer in (mixer.f, mixer.h, mixer.proj):
        torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
        layer.weight.data[:8] = torch.eye(8)
    mixer.f.weight.data[:8], mixer.f.weight.data[8:16] = 0, torch.eye(8)
    mixer.f.bias.data[:8], mixer.f.bias.data[16] = 1, 1
    wanted = F.gelu(torch.conv2d(x.mT.reshape(2, 8, 5, 3), mixer.contexts[0].weight, padding=1, groups=8))
    torch.testing.assert_close(mixer(x), wanted.flatten(2).mT)


def test_focal_refuses_a_kernel_larger_than_the_map() -> None:
    shape = Shape(dim=8, heads=1, head_dim=8, grid=(7, 5), tokens=35)
    assert FocalModulation.check(shape, levels=2, window=3) is None
    assert "7x5" in str(FocalModulation.check(shape, levels=3, window=3))


def test_token_statistics_with_one_head_is_a_whitening_gate() -> None:
    mixer, x = randomised(TokenStatistics(8, 1, None)), normal(2, 15, 8)
    w = mixer.basis(x)
    torch.testing.assert_close(mixer(x), mixer.proj(-w / (1 + w.square().mean(1, keepdim=True))))


def test_token_statistics_share_every_token_out_over_the_heads() -> None:
    mixer = randomised(TokenStatistics(8, 4, None))
    share = mixer._share(normal(2, 4, 15, 2).square())
    torch.testing.assert_close(share.sum(1), torch.ones(2, 15, 1))


def test_token_statistics_undo_duplicated_tokens_by_doubled_temperature() -> None:
    mixer, x = randomised(TokenStatistics(8, 4, None)), normal(2, 15, 8)
    before = mixer(x)
    mixer.temperature.data *= 2
    torch.testing.assert_close(mixer(torch.cat([x, x], dim=1))[:, :15], before)


def test_mbconv_with_a_delta_kernel_is_a_bottleneck_of_each_token() -> None:
    mixer, x = randomised(MBConv(8, 1, (5, 3), expand=2, squeeze=0)), normal(2, 15, 8)
    torch.nn.init.dirac_(mixer.depthwise.weight, groups=16)
    for norm in (mixer.norm1, mixer.norm2):
        norm.weight.data, norm.bias.data, norm.eps = torch.ones(16), torch.zeros(16), 0.0
    wide = F.gelu(F.gelu(x @ mixer.widen.weight.flatten(1).T))
    torch.testing.assert_close(mixer(x), F.linear(wide, mixer.narrow.weight.flatten(1), mixer.narrow.bias))


def test_pooling_of_a_constant_is_zero() -> None:
    assert Pooling(4, 1, (5, 3))(torch.full((1, 15, 4), 2.5)).abs().max() == 0


def test_pooling_takes_border_means_without_padding() -> None:
    x = normal(1, 20, 1)
    y, image = Pooling(1, 1, (5, 4))(x).reshape(5, 4), x.reshape(5, 4)
    torch.testing.assert_close(y[0, 0], image[:2, :2].mean() - image[0, 0])
    torch.testing.assert_close(y[2, 1], image[1:4, 0:3].mean() - image[2, 1])


def test_block_without_mixing_leaves_out_norm_and_residual() -> None:
    stage = Stage(width=16, depth=2, head_dim=8, a=Atom("none"), ffn=Atom("mlp", ratio=2))
    network = build(Genotype(topology="plain", stem=Atom("patch", size=2), stages=(stage,)), image_size=8, classes=3)
    block = network.stages[0].blocks[0]
    assert block.mixer is None
    assert not list(block.norm1.parameters())
    x = normal(1, 16, 16)
    torch.testing.assert_close(block(x)[:, 3], block(x[:, 3:4])[:, 0])
