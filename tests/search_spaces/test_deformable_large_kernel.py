"""What is special to large kernels whose taps move: where they read, and how they start."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.mixers.deformable_large_kernel import DeformableDepthwise, DeformableLargeKernel
from search_spaces.mixers.large_kernel import LargeKernelAttention
from tests.search_spaces.counting import randomised


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def still(kernel: int, dilation: int) -> DeformableDepthwise:
    module = randomised(DeformableDepthwise(6, (7, 9), kernel, dilation, "separable"))
    for parameter in module.offset[-1].parameters():
        torch.nn.init.zeros_(parameter)
    return module


@pytest.mark.parametrize(("kernel", "dilation"), [(5, 1), (7, 3), (3, 2)])
def test_taps_that_stay_are_a_depthwise_convolution(kernel: int, dilation: int) -> None:
    module, x = still(kernel, dilation), normal(2, 6, 7, 9)
    wanted = F.conv2d(x, module.weight, padding=kernel // 2 * dilation, dilation=dilation, groups=6)
    torch.testing.assert_close(module(x), wanted, rtol=1e-4, atol=1e-5)


def test_offsets_are_down_and_right_in_tokens_and_zero_lies_outside() -> None:
    module, x = still(3, 1), normal(2, 6, 7, 9)
    offsets = torch.tensor([1.0, -2.0]).repeat(9).view(1, 18, 1, 1).expand(2, -1, 7, 9)
    moved = module.read(x, offsets)[:, :, 4].unflatten(2, (7, 9))  # the tap in the middle
    wanted = torch.zeros_like(x)
    wanted[:, :, :6, 2:] = x[:, :, 1:, :7]
    torch.testing.assert_close(moved, wanted, rtol=1e-4, atol=1e-5)


def test_half_an_offset_reads_the_mean_of_two_tokens() -> None:
    module, x = still(3, 1), normal(2, 6, 7, 9)
    read = module.read(x, torch.tensor([0.0, 0.5]).repeat(9).view(1, 18, 1, 1).expand(2, -1, 7, 9))
    wanted = (x[:, :, :, :-1] + x[:, :, :, 1:]) / 2
    torch.testing.assert_close(read[:, :, 4].unflatten(2, (7, 9))[..., :-1], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("offsets", ["separable", "dense"])
def test_it_starts_as_large_kernel_attention_without_the_kernels_biases(offsets: str) -> None:
    ours, x = DeformableLargeKernel(8, 1, (6, 8), offsets=offsets), normal(2, 48, 8)
    theirs = LargeKernelAttention(8, 1, (6, 8))
    for part in (ours.near, ours.far):
        part.init_special()
    theirs.load_state_dict({n: t for n, t in ours.state_dict().items() if ".offset" not in n}, strict=False)
    for kernel in (theirs.near, theirs.far):
        torch.nn.init.zeros_(kernel.bias)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_the_published_offsets_have_43_times_the_parameters_of_the_rest() -> None:
    mixer = DeformableLargeKernel(64, 1, (14, 14), offsets="dense")
    dense = sum(p.numel() for part in (mixer.near, mixer.far) for p in part.offset.parameters())
    assert dense == 387_476
    with pytest.raises(ValueError, match="separable or dense, found 'wide'"):
        DeformableLargeKernel(64, 1, (14, 14), offsets="wide")
