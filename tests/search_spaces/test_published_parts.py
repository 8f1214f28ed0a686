"""Parts that Shuffle, DAT, VAN, CvT and CMT need, each against PyTorch's own modules or its closed form."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom, Genotype, Stage
from search_spaces.convolution import activation
from search_spaces.costs import Shape
from search_spaces.heads.expanded import ExpandedHead
from search_spaces.layer import to_tokens
from search_spaces.locals.neighbour_window import NeighbourWindow
from search_spaces.mixers import MIXERS
from search_spaces.mixers.large_kernel import LargeKernelAttention
from search_spaces.mixers.shifted_window import ShiftedWindowAttention
from search_spaces.model import build
from search_spaces.norms import TokenBatchNorm
from search_spaces.stems.cmt import CmtStem
from search_spaces.stems.shuffle import ShuffleStem
from tests.search_spaces.counting import randomised

NORM = Atom("layer")


def normal(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(1))


def on(grid: tuple[int, int]) -> Shape:
    return Shape(dim=16, heads=2, head_dim=8, grid=grid, tokens=grid[0] * grid[1])


@pytest.mark.parametrize("shift", [1, 2])
def test_windows_begin_as_far_in_as_the_map_is_rolled(shift: int) -> None:
    core = ShiftedWindowAttention(16, 2, 8, (6, 6), window=3, position_bias=False, shift=shift)
    group = (torch.arange(6) - shift).div(3, rounding_mode="floor")
    group = (10 * group[:, None] + group).flatten()
    q, k, v = normal(3, 1, 2, 36, 8)
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=group[:, None] == group)
    torch.testing.assert_close(core.attend(q, k, v), wanted)


def test_a_shift_counts_where_a_map_is_rolled() -> None:
    check, simplify = MIXERS["shifted_window"].check, MIXERS["window"].simplify
    assert [check(on((6, 6)), window=3, shift=s) is None for s in (0, 1, 2, 3)] == [False, True, True, False]
    assert simplify(on((6, 6)), Atom("window", window=3, shift=2)) == Atom("window", window=3)


@pytest.mark.parametrize("kind", ["window", "shifted_window", "grid"])
@pytest.mark.parametrize("params", [{"divisions": 0}, {"window": 0}])
def test_groups_without_tokens_are_refused(kind: str, params: dict[str, int]) -> None:
    assert "at least one" in (MIXERS[kind].check(on((6, 6)), **params) or "")


def test_a_large_kernel_may_add_its_input() -> None:
    bare: Any = randomised(LargeKernelAttention(16, 2, (6, 5), kernel=9))
    added = LargeKernelAttention(16, 2, (6, 5), kernel=9, shortcut=True)
    added.load_state_dict(bare.state_dict())
    x = normal(2, 30, 16)
    torch.testing.assert_close(added(x), x + bare(x))


def test_quick_gelu_is_near_gelu_and_relu6_is_cut_off() -> None:
    x = normal(200) * 5
    quick = activation("quick_gelu")(x)
    assert 0.015 < (quick - F.gelu(x)).abs().max() < 0.021
    torch.testing.assert_close(quick, x / (1 + (-1.702 * x).exp()))
    assert torch.equal(activation("relu6")(x), x.clamp(0, 6))


def test_a_batch_norm_of_tokens_takes_all_of_them_for_one_batch() -> None:
    norm, x = TokenBatchNorm(4).train(), normal(3, 5, 4) * 2 + 1
    rows = x.flatten(0, 1)
    wanted = (rows - rows.mean(0)) / (rows.var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x).flatten(0, 1), wanted)
    torch.testing.assert_close(norm.norm.running_mean, 0.1 * rows.mean(0))


def test_a_connection_of_windows_is_a_convolution_of_the_map() -> None:
    local: Any = randomised(NeighbourWindow(8, (6, 5), kernel=5))
    x = normal(2, 2 + 30, 8)
    maps = x[:, 2:].transpose(1, 2).unflatten(2, (6, 5))
    wanted = to_tokens(F.conv2d(maps, local.conv.weight, local.conv.bias, padding=2, groups=8))
    torch.testing.assert_close(local(x), torch.cat([torch.zeros(2, 2, 8), wanted], dim=1))


def test_an_expanded_head_is_the_mean_of_a_wider_layer() -> None:
    head: Any = ExpandedHead(8, 5, 1, NORM, hidden=12).eval()
    x = normal(2, 7, 8)
    head.norm.running_var.fill_(1 - head.norm.eps)
    torch.testing.assert_close(head(x), head.fc(F.silu(head.hidden(x[:, 1:])).mean(dim=1)))


@pytest.mark.parametrize("kind", [CmtStem, ShuffleStem])
def test_stems_are_convolutions_norms_and_activations_in_order(kind: type[nn.Module]) -> None:
    stem: Any = randomised(kind(in_chans=3, dim=8, image_size=(13, 10)))
    if kind is CmtStem:
        pairs = ((nn.GELU(), getattr(stem, f"norm{i}")) for i in (1, 2, 3))
        layers = [stem.conv1, *next(pairs), stem.conv2, *next(pairs), stem.conv3, *next(pairs)]
    else:
        layers = [stem.conv1, stem.norm1, nn.ReLU6(), stem.conv2, stem.norm2, nn.ReLU6(), stem.proj]
    x = normal(2, 3, 13, 10)
    wanted = nn.Sequential(*layers)(x)
    assert tuple(wanted.shape[2:]) == kind.grid((13, 10))  # type: ignore[attr-defined]
    torch.testing.assert_close(stem(x), to_tokens(wanted))


def test_the_norm_behind_a_stage_may_be_of_another_kind() -> None:
    stage = Stage(width=16, depth=1, head_dim=8, norm=Atom("batch", out="layer"), norm_out=True)
    genotype = Genotype(topology="plain", stem=Atom("patch", size=8), stages=(stage,), head=Atom("pool", place="none"))
    made: Any = build(genotype, image_size=32, classes=5).stages[0]
    assert isinstance(made.norm, nn.LayerNorm)
    assert isinstance(made.blocks[0].norm1, TokenBatchNorm)
