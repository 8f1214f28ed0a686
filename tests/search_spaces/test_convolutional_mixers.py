"""What is special to large kernels, convolutional projections and the fully convolutional mixer."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.costs import Shape
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers.convolutional_projection import ConvolutionalProjection
from search_spaces.mixers.fcvit import FullyConvolutionalMixer, GlobalContext
from search_spaces.mixers.large_kernel import LargeKernelAttention
from tests.search_spaces.counting import measured, randomised


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def shape(*grid: int, dim: int = 16, heads: int = 2, prefix: int = 0) -> Shape:
    tokens = grid[0] * grid[1]
    return Shape(dim=dim, heads=heads, head_dim=dim // heads, grid=(grid[0], grid[1]), tokens=tokens, prefix=prefix)


@pytest.mark.parametrize(("kernel", "side"), [(21, 23), (9, 11)])
def test_a_large_kernel_reads_every_token_of_its_field_and_no_other(kernel: int, side: int) -> None:
    mixer, x = randomised(LargeKernelAttention(2, 1, (27, 25), kernel=kernel)), normal(1, 675, 2).requires_grad_()
    mixer(x)[0, 13 * 25 + 12].sum().backward()
    touched = x.grad.abs().sum(2).unflatten(1, (27, 25))[0] > 0
    half, wanted = side // 2, torch.zeros(27, 25, dtype=torch.bool)
    wanted[13 - half : 14 + half, 12 - half : 13 + half] = True
    assert torch.equal(touched, wanted)


def test_a_large_kernel_is_two_convolutions_of_known_sides() -> None:
    mixer = LargeKernelAttention(16, 1, (14, 14))
    assert sum(p.numel() for p in mixer.parameters()) == 3 * 16**2 + 3 * 16 + (25 + 49 + 2) * 16
    assert LargeKernelAttention.cost(shape(14, 14)).macs == 196 * (3 * 16**2 + 74 * 16)


@pytest.mark.parametrize("grid", [(12, 14), (10, 10)])
def test_the_largest_kernel_costs_what_pytorch_counts(grid: tuple[int, int]) -> None:
    seen = measured(LargeKernelAttention(16, 1, grid), normal(1, grid[0] * grid[1], 16))
    assert seen == LargeKernelAttention.cost(shape(*grid))


def test_a_large_kernel_sees_all_of_a_small_map_only() -> None:
    assert LargeKernelAttention.sees_all(shape(12, 12))
    assert not LargeKernelAttention.sees_all(shape(13, 12))
    assert not LargeKernelAttention.sees_all(shape(12, 12), kernel=9)


def test_a_large_kernel_refuses_even_taps_and_tiny_maps() -> None:
    assert LargeKernelAttention.check(shape(7, 7)) is None
    assert "outside a map of 6x8" in str(LargeKernelAttention.check(shape(6, 8)))
    assert "4 taps" in str(LargeKernelAttention.check(shape(14, 14), kernel=7, dilation=2))


def undisturbed(mixer: ConvolutionalProjection) -> ConvolutionalProjection:
    """With delta kernels, and norms that do nothing."""
    for local in (mixer.local_q, mixer.local_k, mixer.local_v):
        nn.init.dirac_(local.conv.weight, groups=local.conv.groups)
        local.norm.weight.data.fill_(1), local.norm.bias.data.zero_()
        local.norm.eps = 0.0
    return mixer


@pytest.mark.parametrize(("scale", "width"), [("head", 8), ("width", 16)])
def test_projections_with_delta_kernels_are_softmax_attention(scale: str, width: int) -> None:
    mixer = undisturbed(randomised(ConvolutionalProjection(16, 2, (5, 3), stride=1, scale=scale)))
    x = normal(2, 17, 16)  # two prefix tokens
    q, k, v = (layer(x).unflatten(2, (2, 8)).transpose(1, 2) for layer in (mixer.q, mixer.k, mixer.v))
    weights = (q @ k.mT * width**-0.5).softmax(dim=3)
    torch.testing.assert_close(mixer(x), mixer.proj((weights @ v).transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("grid", [(8, 8), (7, 5), (6, 9)])
@pytest.mark.parametrize("settings", [{"pool": True}, {"pool": True, "stride": 4}, {"stride": 3}, {"kernel": 5}])
def test_every_form_of_projection_costs_what_pytorch_counts(grid: tuple[int, int], settings: dict) -> None:
    at = shape(*grid, prefix=1)
    seen = measured(ConvolutionalProjection(16, 2, grid, **settings), normal(1, at.length, 16))
    assert seen == ConvolutionalProjection.cost(at, **settings)


def test_projections_name_the_scales_they_know() -> None:
    with pytest.raises(ValueError, match="head or width"):
        ConvolutionalProjection(16, 2, (5, 3), scale="tokens")


def test_projections_at_full_resolution_need_a_small_map() -> None:
    assert ConvolutionalProjection.check(shape(56, 56), stride=2) is None
    assert "3136 keys" in str(ConvolutionalProjection.check(shape(56, 56), stride=1))


def test_the_context_of_a_constant_map_is_its_shift() -> None:
    context, x = randomised(GlobalContext(16, 1, 8, compete=False)), normal(2, 1, 16).expand(2, 15, 16)
    wanted = context.shift * context.fc2(F.gelu(context.fc1(x[:, :1])))
    torch.testing.assert_close(context(x), wanted.expand_as(x), rtol=1e-3, atol=1e-3)


def test_similarities_are_standardised_over_groups_and_tokens_together() -> None:
    context, x = GlobalContext(16, 4, 8, compete=True), normal(2, 15, 16)
    similarity = context._standardised(x, x.mean(1, keepdim=True)).flatten(1)
    torch.testing.assert_close(similarity.mean(1), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(similarity.std(1), torch.ones(2), rtol=0, atol=1e-4)


def test_similarities_do_not_depend_on_the_scale_of_the_tokens() -> None:
    context, x = randomised(GlobalContext(16, 4, 8, compete=True)), normal(2, 15, 16)
    ours = [context._standardised(t, t.mean(1, keepdim=True)) for t in (x, -7 * x)]
    torch.testing.assert_close(*ours, rtol=1e-3, atol=1e-4)


def test_fcvit_without_context_is_two_bottlenecked_convolutions() -> None:
    mixer, x = randomised(FullyConvolutionalMixer(16, 1, (5, 7), kernel=3)), normal(2, 35, 16)
    for half in (mixer.first, mixer.second):
        half.context.fc2.weight.data.zero_(), half.context.fc2.bias.data.zero_()
    wanted = x
    for half in (mixer.first, mixer.second):
        wanted = to_tokens(half.depthwise(to_map(wanted, (5, 7))))
        wanted = F.gelu(half.fc2(F.gelu(half.fc1(wanted))))
    torch.testing.assert_close(mixer(x), wanted)


@pytest.mark.parametrize("settings", [{"kernel2": 3, "groups": 4}, {"reduction": 4, "compete": False}, {}])
def test_every_form_of_fcvit_costs_what_pytorch_counts(settings: dict) -> None:
    seen = measured(FullyConvolutionalMixer(32, 1, (6, 9), **settings), normal(1, 54, 32))
    assert seen == FullyConvolutionalMixer.cost(shape(6, 9, dim=32), **settings)
