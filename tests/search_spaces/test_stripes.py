"""Cross-shaped windows and HiLo against brute force over all pairs and the sums of their papers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.genotype import Atom
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS, build_mixer, mixer_cost
from search_spaces.mixers.cross_shaped_window import StripeAttention
from search_spaces.mixers.hilo import HighFrequency, HiLo, LowFrequency
from tests.search_spaces.counting import randomised

Grid = tuple[int, int]
CROSS = MIXERS["cross_shaped_window"]


def shape(grid: Grid, heads: int = 4, head_dim: int = 8) -> Shape:
    return Shape(dim=heads * head_dim, heads=heads, head_dim=head_dim, grid=grid, tokens=grid[0] * grid[1])


def normal(*size: int, seed: int = 7) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def same_stripe(grid: Grid, across: bool, width: int) -> Tensor:
    """(N, N): which tokens share a stripe, by their row or column."""
    row, column = torch.arange(grid[0]).repeat_interleave(grid[1]), torch.arange(grid[1]).repeat(grid[0])
    stripe = (row if across else column) // width
    return stripe[:, None] == stripe


def near_by_hand(v: Tensor, grid: Grid, allowed: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Σ over the 3 x 3 neighbours j of i with allowed[i, j] of weight[c, dy, dx] v[j]. v (N, C)."""
    out = bias.expand(len(v), -1).clone()
    for i, j in allowed.nonzero().tolist():
        dy, dx = j // grid[1] - i // grid[1], j % grid[1] - i % grid[1]
        if max(abs(dy), abs(dx)) <= 1:
            out[i] += weight[:, 0, dy + 1, dx + 1] * v[j]
    return out


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize(("grid", "stripes", "width"), [((6, 6), 2, 3), ((4, 4), 4, 1), ((5, 5), 2, 3), ((5, 5), 3, 2)])
def test_stripes_are_masked_attention_and_a_masked_convolution(
    grid: Grid, stripes: int, width: int, across: bool
) -> None:
    core: Any = randomised(StripeAttention(8, 2, 4, grid, across=across, stripes=stripes))
    q, k, v = normal(3, 1, 2, grid[0] * grid[1], 4)
    allowed = same_stripe(grid, across, width)
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)[0].transpose(0, 1).flatten(1)
    near = near_by_hand(v[0].transpose(0, 1).flatten(1), grid, allowed, core.local.weight, core.local.bias)
    torch.testing.assert_close(core.attend(q, k, v)[0].transpose(0, 1).flatten(1), attended + near)


def test_heads_of_a_cross_shaped_window_see_columns_then_rows() -> None:
    at = shape((4, 6), heads=2)
    mixer: Any = build_mixer((Atom("cross_shaped_window", stripe=1, qkv_bias=False),), 1.0, at)
    moved = torch.zeros(1, 24, 16)
    with torch.no_grad():
        mixer.proj.weight.copy_(torch.eye(16))
    moved[0, 8] = 1  # row 1, column 2
    seen = (mixer(moved) - mixer(torch.zeros(1, 24, 16)))[0].unflatten(0, (4, 6)).unflatten(2, (2, 8)).abs().sum(3) > 0
    assert seen[:, :, 0].nonzero().tolist() == [[y, 2] for y in range(4)]
    assert seen[:, :, 1].nonzero().tolist() == [[1, x] for x in range(6)]


def test_one_stripe_is_softmax_attention_beside_a_convolution() -> None:
    core: Any = randomised(StripeAttention(16, 4, 4, (5, 4), across=False, stripes=1))
    q, k, v = normal(3, 2, 4, 20, 4)
    maps = v.transpose(2, 3).reshape(2, 16, 5, 4)
    local = core.local(maps).reshape(2, 4, 4, 20).transpose(2, 3)
    torch.testing.assert_close(core.attend(q, k, v), F.scaled_dot_product_attention(q, k, v) + local)


@pytest.mark.parametrize(
    ("side", "dim", "stripe", "macs_m"),
    [
        (56, 64, 1, 75.7),
        (56, 64, 2, 98.1),
        (56, 64, 7, 210.5),
        (28, 128, 2, 63.5),
        (14, 256, 7, 61.7),
        (7, 512, 7, 54.1),
    ],
)
def test_cross_shaped_windows_cost_what_is_published(side: int, dim: int, stripe: int, macs_m: float) -> None:
    cost = mixer_cost(
        (Atom("cross_shaped_window", stripe=stripe),), 1.0, shape((side, side), heads=dim // 32, head_dim=32)
    )
    assert cost.macs / 1e6 == pytest.approx(macs_m, abs=0.05)
    assert cost.params == 4 * dim**2 + 4 * dim + 10 * dim


def test_equal_stripes_have_one_name() -> None:
    def named(grid: Grid, **params: int) -> Atom:
        return CROSS.simplify(shape(grid), Atom("cross_shaped_window", **params))

    assert named((8, 8), stripe=8) == named((8, 8), stripes=1) == Atom("cross_shaped_window", stripes=1)
    assert named((4, 4), stripes=8) == named((4, 4), stripes=4) != named((8, 8), stripes=8)
    assert named((8, 4), stripe=4) == Atom("cross_shaped_window", stripe=4)


@pytest.mark.parametrize(
    ("grid", "heads", "params", "word"),
    [
        ((8, 8), 3, {"stripes": 2}, "odd"), ((56, 56), 4, {"stripes": 2}, "1568 tokens"),
        ((8, 8), 4, {"stripes": 0}, "at least one"), ((8, 8), 4, {"stripe": 0}, "at least one"),
        ((9, 9), 4, {"stripe": 8}, "padding"), ((8, 8), 4, {"stripe": 2, "stripes": 2}, "not both"),
    ],
)  # fmt: skip
def test_stripes_that_do_not_fit_are_refused(grid: Grid, heads: int, params: dict[str, int], word: str) -> None:
    assert word in (CROSS.check(shape(grid, heads), **params) or "")
    assert CROSS.check(shape((8, 8), 3), stripes=1) is None


def test_low_frequencies_of_a_map_of_equal_windows_are_softmax_attention() -> None:
    """Each key stands for as many equal ones, so averaging them changes nothing."""
    at, coarse = shape((6, 4)), normal(2, 3, 2, 32)
    x = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2)
    low: Any = randomised(LowFrequency(32, 4, 8, (6, 4), 2, True))
    softmax: Any = build_mixer((Atom("softmax"),), 1.0, at)
    for kind in ("weight", "bias"):
        getattr(softmax.qkv, kind).data = torch.cat([getattr(low.q, kind), getattr(low.kv, kind)]).detach()
    softmax.proj.load_state_dict(low.proj.state_dict())
    torch.testing.assert_close(low(x), softmax(x))


def test_windows_at_the_border_are_averaged_over_the_tokens_they_have() -> None:
    low: Any = randomised(LowFrequency(8, 1, 8, (5, 3), 2, True))
    x = normal(1, 15, 8)
    maps = x.reshape(5, 3, 8)
    means = torch.stack([maps[y : y + 2, c : c + 2].mean((0, 1)) for y in (0, 2, 4) for c in (0, 2)])
    k, v = low.kv(means).chunk(2, dim=1)
    torch.testing.assert_close(low(x)[0], low.proj(F.scaled_dot_product_attention(low.q(x)[0], k, v)))


def test_hilo_without_low_frequencies_is_window_attention() -> None:
    at, x = shape((6, 8)), normal(1, 48, 32)
    ours, window = HiLo(32, 4, (6, 8), share=0), MIXERS["hilo"].simplify(at, Atom("hilo", share=0, window=2))
    other = build_mixer((window,), 1.0, at)
    other.load_state_dict({name.removeprefix("branches.0."): t for name, t in ours.state_dict().items()}, strict=False)
    torch.testing.assert_close(ours(x), other(x))
    assert window == Atom("window", window=2, position_bias=False)


@pytest.mark.parametrize(("share", "low"), [(0.25, 1), (0.5, 2), (0.75, 3), (1, 4)])
def test_hilo_heads_are_shared_out_and_counted(share: float, low: int) -> None:
    at, (n, c, a, w) = shape((8, 12)), (96, 32, low / 4, 2)
    high, keys = 1 - a, n / w**2
    counted = (3 + high) * high * n * c**2 + (1 + a) * a * n * c**2 + 2 * a * keys * c**2
    pairs = 2 * high * n * w**2 * c + 2 * a * n * keys * c
    assert mixer_cost((Atom("hilo", share=share, window=w),), 1.0, at).macs == counted + pairs
    kinds = [type(branch) for branch in HiLo(32, 4, (8, 12), share=share, window=w).branches]
    assert kinds == ([LowFrequency] if low == 4 else [HighFrequency, LowFrequency])


@pytest.mark.parametrize(
    ("params", "word"), [({"share": 0.3}, "whole number"), ({"window": 1}, "2x2"), ({"window": 8}, "1x1")]
)
def test_hilo_that_does_not_fit_is_refused(params: dict[str, float], word: str) -> None:
    assert word in (MIXERS["hilo"].check(shape((8, 8)), **params) or "")
