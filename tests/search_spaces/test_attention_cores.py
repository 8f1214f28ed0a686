"""Attention cores against brute force: one N x N product with a mask worked out from coordinates, and closed forms."""

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.genotype import Atom
from search_spaces.costs import Cost, Shape
from search_spaces.mixers import MIXERS, Attention, build_mixer, mixer_cost
from search_spaces.mixers.spatial_reduction import StridedMap
from tests.search_spaces.counting import measured, randomised

GROUPED = ["window", "shifted_window", "grid"]
Grid = tuple[int, int]


def shape(grid: Grid, heads: int = 4, head_dim: int = 8, prefix: int = 0) -> Shape:
    tokens = grid[0] * grid[1]
    return Shape(dim=heads * head_dim, heads=heads, head_dim=head_dim, grid=grid, tokens=tokens, prefix=prefix)


def core(kind: str, at: Shape, **params: Any) -> Any:
    made = MIXERS[kind](dim=at.dim, num_heads=at.heads, head_dim=at.head_dim, grid=at.grid, **params)
    return randomised(made)


def qkv(at: Shape, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(3, batch, at.heads, at.length, at.head_dim, generator=generator)


def axis(kind: str, side: int, size: int) -> tuple[Tensor, Tensor]:
    """Group and coordinate inside it of every position of one axis, from the definitions of the papers."""
    at, count = torch.arange(side), -(-side // size)
    if kind == "grid":
        return at % count, at // count
    shift = size // 2 if kind == "shifted_window" and size < side else 0
    return (at - shift).div(size, rounding_mode="floor"), at


def brute_force(kind: str, grid: Grid, size: Grid, table: Tensor | None, heads: int) -> Tensor:
    """(h, N, N): the bias of pairs in one group, minus infinity for all others."""
    gy, y = (t.repeat_interleave(grid[1]) for t in axis(kind, grid[0], size[0]))
    gx, x = (t.repeat(grid[0]) for t in axis(kind, grid[1], size[1]))
    same = (gy[:, None] == gy) & (gx[:, None] == gx)
    logits = torch.full((heads, len(same), len(same)), float("-inf"))
    for p, q in same.nonzero().tolist():
        row = (y[p] - y[q] + size[0] - 1) * (2 * size[1] - 1) + x[p] - x[q] + size[1] - 1
        logits[:, p, q] = 0 if table is None else table[row]
    return logits


@pytest.mark.parametrize("kind", GROUPED)
@pytest.mark.parametrize(
    ("grid", "size"), [((8, 8), (4, 4)), ((6, 9), (3, 3)), ((7, 5), (4, 3)), ((5, 8), (5, 3)), ((7, 7), (3, 2))]
)
@pytest.mark.parametrize("biased", [True, False])
def test_groups_equal_masked_attention_over_all_pairs(kind: str, grid: Grid, size: Grid, biased: bool) -> None:
    at = shape(grid, heads=2)
    made, (q, k, v) = core(kind, at, window=size, position_bias=biased), qkv(at)
    mask = brute_force(kind, grid, size, made.table, at.heads)
    torch.testing.assert_close(made.attend(q, k, v), F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


@pytest.mark.parametrize("kind", GROUPED)
def test_one_group_over_the_map_has_one_name(kind: str) -> None:
    at = shape((6, 8))
    whole = [Atom(kind, divisions=1), Atom(kind, window=8), Atom(kind, window=99, position_bias=True)]
    assert {MIXERS[kind].simplify(at, atom) for atom in whole} == {Atom("softmax", position="table")}
    bare = Atom(kind, window=8, position_bias=False, qkv_bias=False)
    assert MIXERS[kind].simplify(at, bare) == Atom("softmax", qkv_bias=False)


@pytest.mark.parametrize("kind", GROUPED)
def test_simplified_groups_compute_the_same(kind: str) -> None:
    at = shape((6, 8))
    x, whole = torch.randn(2, 48, 32), Atom(kind, window=8, position_bias=True)
    simple = MIXERS[kind].simplify(at, whole)
    first, second = (randomised(build_mixer((atom,), 0.5, at)) for atom in (whole, simple))
    torch.testing.assert_close(first(x), second(x))


@pytest.mark.parametrize("kind", GROUPED)
def test_size_is_given_by_divisions_unless_a_window_is_named(kind: str) -> None:
    at = shape((8, 8))
    assert MIXERS[kind].simplify(at, Atom(kind)) == Atom(kind, divisions=2)
    assert MIXERS[kind].simplify(at, Atom(kind, window=4, position_bias=True)) == Atom(kind, window=4)
    assert core(kind, at, divisions=4).size == core(kind, at, window=2).size == (2, 2)


@pytest.mark.parametrize(
    ("grid", "params", "word"),
    [
        ((8, 8), {"divisions": 8}, "1x1"), ((5, 5), {"window": 3}, "padding"),
        ((64, 64), {"divisions": 1}, "4096 tokens"), ((8, 8), {"window": 4, "divisions": 2}, "not both"),
    ],
)  # fmt: skip
def test_groups_that_do_not_fit_are_refused(grid: Grid, params: dict[str, int], word: str) -> None:
    assert word in (MIXERS["window"].check(shape(grid), **params) or "")


def test_groups_that_fit_are_accepted() -> None:
    fitting = [((8, 8), {"divisions": 4}), ((13, 13), {"window": 7}), ((7, 7), {"window": 7}), ((14, 9), {})]
    assert {MIXERS["window"].check(shape(grid), **params) for grid, params in fitting} == {None}


def test_a_reduction_pads_what_it_does_not_divide() -> None:
    x = torch.randn(2, 35, 8)
    ragged, whole = randomised(StridedMap(8, (7, 5), 2)), randomised(StridedMap(8, (8, 6), 2))
    padded = F.pad(x.unflatten(1, (7, 5)), (0, 0, 0, 1, 0, 1)).flatten(1, 2)
    torch.testing.assert_close(ragged(x), whole(padded))
    assert StridedMap(8, (7, 5), 2, "drop")(x).shape == (2, 6, 8)


def test_prefix_tokens_are_keys_as_they_are() -> None:
    at = shape((6, 4), prefix=3)
    x = torch.randn(2, at.length, at.dim)
    reduced = core("spatial_reduction", at, reduction=2).reduce(x)
    assert reduced.shape == (2, 3 + 6, at.dim)
    assert torch.equal(reduced[:, :3], x[:, :3])


def test_a_reduction_by_one_is_softmax_attention() -> None:
    at, kind = shape((6, 4), prefix=1), MIXERS["spatial_reduction"]
    q, k, v = qkv(at)
    made = core("spatial_reduction", at, reduction=1)
    torch.testing.assert_close(made.attend(q, k, v), core("softmax", at).attend(q, k, v))
    assert kind.simplify(at, Atom("spatial_reduction", reduction=1)) == Atom("softmax")
    assert kind.simplify(at, Atom("spatial_reduction", remainder="drop")) == Atom("spatial_reduction", reduction=2)


@pytest.mark.parametrize("kind", ["spatial_reduction", "shunted"])
def test_a_reduction_leaves_at_least_two_by_two_keys(kind: str) -> None:
    check = MIXERS[kind].check
    assert check(shape((8, 8)), reduction=4) is None
    assert "1x1" in (check(shape((4, 4)), reduction=4) or "")
    assert "1x1" in (check(shape((7, 7)), reduction=4, remainder="drop") or "")
    assert check(shape((7, 7)), reduction=4) is None


def test_shunted_heads_come_in_pairs_and_ratios_in_powers_of_two() -> None:
    check = MIXERS["shunted"].check
    assert "odd" in (check(shape((8, 8), heads=3), reduction=2) or "")
    assert "power of two" in (check(shape((8, 8)), reduction=3) or "")
    assert check(shape((8, 8), heads=3), reduction=1) is None


@pytest.mark.parametrize(("grid", "r"), [((8, 8), 2), ((8, 16), 4), ((16, 16), 8), ((7, 9), 1)])
def test_shunted_macs_are_the_published_sum(grid: Grid, r: int) -> None:
    at = shape(grid)
    n, c, keys = at.tokens, at.dim, at.tokens // r**2 + 4 * at.tokens // r**2
    reduced = 4 * n * c**2 + keys * c**2 + n * keys * c + 4.5 * keys * c
    whole = 4 * n * c**2 + 2 * n**2 * c + 9 * n * c
    assert mixer_cost((Atom("shunted", reduction=r),), 0.5, at).macs == (whole if r == 1 else reduced)


def test_efficient_attention_is_an_explicit_map_whose_rows_sum_to_one() -> None:
    at = shape((5, 6), prefix=2)
    q, k, v = qkv(at)
    weights = q.softmax(3) @ k.softmax(2).transpose(2, 3)  # (B, h, N, N)
    torch.testing.assert_close(weights.sum(3), torch.ones(2, 4, at.length))
    torch.testing.assert_close(core("efficient", at).attend(q, k, v), weights @ v)


def plain_output(made: Any) -> Attention:
    """The attention without its output projection, so that channels show heads."""
    assert isinstance(made, Attention)
    with torch.no_grad():
        made.proj.weight.copy_(torch.eye(made.proj.in_features))
        made.proj.bias.zero_()
    return made


def give_weights(source: Attention, target: Attention, core_index: int) -> None:
    """Shared projections, and what a core has that does not depend on its number of heads."""
    target.qkv.load_state_dict(source.qkv.state_dict())
    own = target.cores[core_index].state_dict()
    theirs = {name: t[..., : own[name].shape[-1]] for name, t in source.cores[0].state_dict().items()}
    target.cores[core_index].load_state_dict(theirs)


PAIRS = [
    (Atom("softmax"), Atom("window", divisions=2, position_bias=False)),
    (Atom("spatial_reduction", reduction=2), Atom("efficient")),
    (Atom("shifted_window", position_bias=False), Atom("grid", position_bias=False)),
    (Atom("spatial_reduction", pool=2), Atom("spatial_reduction", reduction=2)),
]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_mixed_heads_equal_each_mechanism_on_its_own_heads(pair: tuple[Atom, Atom], share: float) -> None:
    at, x = shape((6, 8)), torch.randn(2, 48, 32)
    mixed = plain_output(randomised(build_mixer(pair, share, at)))
    alone = [plain_output(randomised(build_mixer((atom,), 1.0, at), seed=5)) for atom in pair]
    for index, whole in enumerate(alone):
        give_weights(whole, mixed, index)
    cut = round(share * at.heads) * at.head_dim
    torch.testing.assert_close(mixed(x), torch.cat([alone[0](x)[..., :cut], alone[1](x)[..., cut:]], dim=2))


@pytest.mark.parametrize("atom", [*PAIRS[0], *PAIRS[1], *PAIRS[2]], ids=str)
def test_mixing_a_mechanism_with_itself_changes_nothing(atom: Atom) -> None:
    at, x = shape((6, 8)), torch.randn(2, 48, 32)
    mixed, alone = (plain_output(randomised(build_mixer(atoms, 0.25, at))) for atoms in ((atom, atom), (atom,)))
    give_weights(alone, mixed, 0)
    give_weights(alone, mixed, 1)
    torch.testing.assert_close(mixed(x), alone(x))


COSTED = [
    *[((Atom(a), Atom(b)), 0) for a, b in product(GROUPED, ["softmax", "spatial_reduction", "shunted", "efficient"])],
    *[((Atom("spatial_reduction", reduction=r), Atom("softmax")), 2) for r in (2, 4)],
    ((Atom("spatial_reduction", pool=2, qkv_bias=False), Atom("efficient", qkv_bias=False)), 1),
    ((Atom("window", window=3),), 0), ((Atom("window", window=3, position_bias=False),), 0),
    ((Atom("spatial_reduction", remainder="drop"),), 3), ((Atom("spatial_reduction", pool=3),), 1),
    ((Atom("shunted", reduction=4, remainder="drop"),), 0), ((Atom("shunted", reduction=1, qkv_bias=False),), 0),
]  # fmt: skip


@pytest.mark.parametrize(("atoms", "prefix"), COSTED, ids=str)
@pytest.mark.parametrize("grid", [(8, 8), (9, 14)])
def test_costs_are_what_pytorch_counts(atoms: tuple[Atom, ...], prefix: int, grid: Grid) -> None:
    at = shape(grid, prefix=prefix)
    made = build_mixer(atoms, 0.5, at)
    assert mixer_cost(atoms, 0.5, at) == measured(made, torch.randn(1, at.length, at.dim)) != Cost()


@pytest.mark.parametrize(("window", "grid"), [(7, (14, 14)), (7, (28, 28))])
def test_window_macs_are_linear_in_the_tokens(window: int, grid: Grid) -> None:
    at = shape(grid)
    n, c = at.tokens, at.dim
    assert mixer_cost((Atom("window", window=window),), 0.5, at).macs == 4 * n * c**2 + 2 * n * window**2 * c
