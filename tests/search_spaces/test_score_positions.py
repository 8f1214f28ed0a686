"""Positions inside the scores: closed forms, brute force, costs, and where they may be used."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.errors import UserError
from nas.genotype import Atom, Genotype, Stage
from search_spaces.canonical import canonical
from search_spaces.costs import Shape
from search_spaces.layer import Layer
from search_spaces.mixers import MIXERS, Attention, build_mixer, mixer_cost
from search_spaces.rules import find_problems
from search_spaces.score_positions import SCORE_POSITIONS, ScorePosition
from search_spaces.score_positions.base import relative_index
from tests.search_spaces.counting import measured, randomised

GRID = (3, 5)
HOSTS = [
    *(Atom("softmax", position=name) for name in SCORE_POSITIONS),
    *(
        Atom(kind, position=name, **size)
        for kind, size in (
            ("window", {"divisions": 2}), ("shifted_window", {"window": 3}), ("grid", {"divisions": 2}),
            ("cross_shaped_window", {"stripes": 2}), ("spatial_reduction", {"reduction": 2}),
        )
        for name in SCORE_POSITIONS if not SCORE_POSITIONS[name].alone
    ),
]  # fmt: skip


def shape(grid: tuple[int, int], prefix: int = 0, heads: int = 2, head_dim: int = 8) -> Shape:
    return Shape(
        dim=heads * head_dim, heads=heads, head_dim=head_dim, grid=grid, tokens=grid[0] * grid[1], prefix=prefix
    )


def position(name: str, grid: tuple[int, int] = GRID, **params: Any) -> ScorePosition:
    made = randomised(SCORE_POSITIONS[name](num_heads=2, head_dim=8, grid=grid, **params))
    assert isinstance(made, ScorePosition)
    return made


def bias_of(made: ScorePosition) -> Tensor:
    bias = made.bias()
    assert bias is not None
    return bias


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def qkv(tokens: int, keys: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    keys = keys or tokens
    return normal(2, 2, tokens, 8), normal(2, 2, keys, 8, seed=2), normal(2, 2, keys, 8, seed=3)


def pairs(grid: tuple[int, int]) -> Any:
    """Every two places, with their numbers."""
    places = list(enumerate(product(range(grid[0]), range(grid[1]))))
    return product(places, places)


def make(atom: Atom, at: Shape) -> Layer:
    made = randomised(build_mixer((atom,), 0.5, at))
    assert isinstance(made, Layer)
    return made


def test_a_table_of_zeros_is_plain_attention() -> None:
    made, (q, k, v) = position("table"), qkv(15)
    nn.init.zeros_(made.get_parameter("table"))
    torch.testing.assert_close(made(q, k, v), F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize("prefix", [0, 2])
def test_a_table_equals_brute_force(prefix: int) -> None:
    made, (q, k, _) = position("table"), qkv(prefix + 15)
    wanted = q @ k.mT / math.sqrt(8)
    for (i, (y, x)), (j, (v, u)) in pairs(GRID):
        wanted[:, :, prefix + i, prefix + j] += made.get_parameter("table")[(y - v + 2) * 9 + x - u + 4]
    torch.testing.assert_close(made.scores(q, k), wanted)


@pytest.mark.parametrize("prefix", [0, 2])
def test_log_spaced_bias_equals_brute_force(prefix: int) -> None:
    made, (q, k, _) = position("log_cpb"), qkv(prefix + 15)
    fc1, fc2 = made.get_submodule("fc1"), made.get_submodule("fc2")
    wanted = q @ k.mT / math.sqrt(8) + 8
    for (i, (y, x)), (j, (v, u)) in pairs(GRID):
        offset = torch.tensor([8 * (y - v) / 2, 8 * (x - u) / 4])
        spaced = offset.sign() * (offset.abs() + 1).log2() / math.log2(8)
        wanted[:, :, prefix + i, prefix + j] += 16 * fc2(fc1(spaced).relu()).sigmoid() - 8
    torch.testing.assert_close(made.scores(q, k), wanted)


def test_cosine_attention_is_sharp_up_to_a_hundred() -> None:
    made, (q, k, _) = position("cosine_log_cpb"), qkv(15)
    made.get_parameter("logit_scale").data[:] = torch.tensor([math.log(5), 9.0]).view(2, 1, 1)
    factor = torch.tensor([5.0, 100.0]).view(2, 1, 1)
    cosines = F.cosine_similarity(q[:, :, :, None], k[:, :, None], dim=4)
    torch.testing.assert_close(made.scores(q, k) - bias_of(made), factor * cosines, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_entries_are_shared_by_equal_differences_alone(stride: int) -> None:
    grid, keys = (7, 5), (-(-7 // stride), -(-5 // stride))
    index = relative_index(grid, keys, stride)
    found: dict[tuple[int, int], set[int]] = {}
    for (i, (y, x)), (j, (v, u)) in product(*(list(enumerate(product(range(h), range(w)))) for h, w in (grid, keys))):
        found.setdefault((y - stride * v, x - stride * u), set()).add(int(index[i, j]))
    assert all(len(rows) == 1 for rows in found.values())
    assert len(set.union(*found.values())) == len(found)
    assert index.min() == 0


@pytest.mark.parametrize("name", ["rope", "rope_mixed"])
def test_rotated_scores_depend_on_differences_alone(name: str) -> None:
    made = position(name, grid=(5, 6))
    q, k = (normal(1, 2, 1, 8, seed=s).expand(1, 2, 30, 8) for s in (1, 2))
    scores = made.scores(q, k)[0].unflatten(2, (5, 6)).unflatten(1, (5, 6))
    torch.testing.assert_close(scores[:, 1:, 2:, 1:, 2:], scores[:, :-1, :-2, :-1, :-2])
    assert not torch.allclose(scores[:, 0, 0, 0, 0], scores[:, 0, 0, 0, 1])
    assert not torch.allclose(scores[:, 0, 0, 0, 0], scores[:, 0, 0, 1, 0])


def test_rotation_turns_complex_pairs_by_the_angle_of_their_axis() -> None:
    q, k, _ = qkv(15)
    turned, _ = position("rope").placed(q, k)
    pair = torch.complex(*q.chunk(2, dim=3)).clone()
    for token, (y, x) in enumerate(product(range(3), range(5))):
        pair[:, :, token] *= torch.polar(torch.ones(4), torch.tensor([y, y / 10, x, x / 10]))  # √100 between two speeds
    torch.testing.assert_close(torch.complex(*turned.chunk(2, dim=3)), pair)


def test_mixed_rotation_at_no_speed_is_plain_attention() -> None:
    made, (q, k, v) = position("rope_mixed"), qkv(17)
    nn.init.zeros_(made.get_parameter("speeds"))
    torch.testing.assert_close(made(q, k, v), F.scaled_dot_product_attention(q, k, v))


@pytest.mark.parametrize("name", ["rope", "rope_mixed"])
def test_prefix_tokens_are_not_rotated(name: str) -> None:
    q, k, _ = qkv(17)
    turned = position(name).placed(q, k)
    assert all(torch.equal(new[:, :, :3], old[:, :, :3]) for new, old in zip(turned, (q, k), strict=True))  # and (0, 0)
    assert not torch.allclose(turned[0][:, :, 3:], q[:, :, 3:])


@pytest.mark.parametrize("prefix", [0, 3])
@pytest.mark.parametrize("name", ["dape", "dape_v1", "dape_fire"])
def test_refinement_by_zeros_is_biased_attention(name: str, prefix: int) -> None:
    made, (q, k, v) = position(name), qkv(prefix + 15)
    for parameter in made.get_submodule("refine.conv2").parameters():
        nn.init.zeros_(parameter)
    mask = F.pad(bias_of(made), (prefix, 0, prefix, 0))
    torch.testing.assert_close(made(q, k, v), F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


def test_refinement_equals_a_sum_over_shifted_keys() -> None:
    made, (q, k, _) = position("dape"), qkv(16)
    bias, scores = F.pad(bias_of(made), (1, 0, 1, 0)), q @ k.mT / math.sqrt(8)
    both = torch.cat([scores, bias.expand(2, -1, -1, -1)], dim=1)
    first, second = made.get_submodule("refine.conv1"), made.get_submodule("refine.conv2")
    refined = shifted_sum(F.leaky_relu(shifted_sum(both, first)), second)
    torch.testing.assert_close(made.scores(q, k), scores + bias + refined, rtol=1e-4, atol=1e-5)


def shifted_sum(x: Tensor, convolution: nn.Module) -> Tensor:
    """A 3 x 3 convolution over the keys of (B, c, L, 1 + 15); the one prefix key has no neighbours."""
    out = convolution.get_parameter("bias")[:, None, None].repeat(1, *x.shape[2:]).expand(2, -1, -1, -1).clone()
    weight = convolution.get_parameter("weight")
    out[..., 0] += torch.einsum("oc,bcl->bol", weight[:, :, 1, 1], x[..., 0])
    for (i, (y, x1)), (j, (v, u)) in pairs(GRID):
        if max(abs(y - v), abs(x1 - u)) <= 1:
            out[..., 1 + i] += torch.einsum("oc,bcl->bol", weight[:, :, v - y + 1, u - x1 + 1], x[..., 1 + j])
    return out


def test_slopes_are_the_published_series() -> None:
    decay = bias_of(SCORE_POSITIONS["alibi"](num_heads=6, head_dim=8, grid=(1, 2)))
    assert (-decay[:, 0, 1]).tolist() == [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]


@pytest.mark.parametrize("atom", HOSTS, ids=str)
def test_cost_is_what_pytorch_counts_in_every_host(atom: Atom) -> None:
    for prefix in (0, 2) if MIXERS[atom.kind].takes_prefix else (0,):
        at = shape((6, 5), prefix=prefix)
        assert measured(make(atom, at), normal(1, at.length, 16)) == mixer_cost((atom,), 0.5, at)


@pytest.mark.parametrize("atom", HOSTS, ids=str)
def test_every_host_learns_and_compiles_in_one_graph(atom: Atom) -> None:
    at = shape((6, 5))
    mixer, x = make(atom, at), normal(2, 30, 16)
    mixer(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixer.parameters())
    torch.compiler.reset()
    compiled = torch.compile(mixer, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), mixer(x))
    torch.testing.assert_close(torch.export.export(mixer, (x,)).module()(x), mixer(x))


@pytest.mark.parametrize("atom", HOSTS, ids=str)
def test_bfloat16_stays_near(atom: Atom) -> None:
    mixer, x = make(atom, shape((6, 5))), normal(2, 30, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = mixer(x).float()
    assert (mixer(x) - rough).abs().mean() <= 2e-2 * mixer(x).abs().mean()


@pytest.mark.parametrize("name", SCORE_POSITIONS)
def test_positions_tell_equal_tokens_apart_where_values_differ(name: str) -> None:
    made = position(name, grid=(3, 4))
    q, k = normal(1, 2, 1, 8).expand(1, 2, 12, 8), normal(1, 2, 1, 8, seed=2).expand(1, 2, 12, 8)
    rows = made(q, k, normal(1, 2, 12, 8, seed=3))[0, 0]
    assert (torch.pdist(rows) > 1e-5).all()


def test_one_window_over_the_map_computes_what_its_canonical_name_does() -> None:
    at, x = shape((4, 6)), normal(2, 24, 16)
    for name in (None, "log_cpb", "rope"):
        atom = Atom("window", divisions=1, position=name)
        simple = MIXERS["window"].simplify(at, atom)
        assert simple == Atom("softmax", position=name or "table")
        torch.testing.assert_close(make(atom, at)(x), make(simple, at)(x))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (Atom("softmax", position=None), Atom("softmax")),
        (Atom("window", divisions=2, position="table"), Atom("window", divisions=2)),
        (Atom("window", position="rope"), Atom("window", divisions=2, position="rope")),
        (Atom("spatial_reduction", reduction=1, position="rope"), Atom("softmax", position="rope")),
        (Atom("cross_shaped_window", position="rope"), Atom("cross_shaped_window", stripes=2, position="rope")),
    ],
)
def test_canonical_names_leave_out_what_has_no_effect(written: Atom, name: Atom) -> None:
    genotype = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=32, depth=1, a=written),))
    assert canonical(genotype, image_size=16).stages[0].a == name


@pytest.mark.parametrize(
    ("atom", "at", "word"),
    [
        (Atom("softmax", position="dape"), shape((14, 15)), "at most 196"),
        (Atom("softmax", position="rope"), shape((8, 8), head_dim=6), "multiple of 4"),
        (Atom("window", divisions=2, position="dape"), shape((8, 8)), "softmax alone"),
        (Atom("window", position_bias=False, position="rope"), shape((8, 8)), "not both"),
        (Atom("cross_shaped_window", position="dape"), shape((8, 8)), "softmax alone"),
        (Atom("spatial_reduction", pool=2, position="rope"), shape((8, 8)), "keys on a grid"),
        (Atom("softmax", position="rope"), Shape(dim=16, heads=2, head_dim=8, grid=None, tokens=9), "scattered"),
    ],
)
def test_positions_are_refused_where_they_cannot_work(atom: Atom, at: Shape, word: str) -> None:
    reason = MIXERS[atom.kind].check(at, **atom.params)
    assert reason is not None
    assert word in reason


def test_an_unknown_position_names_the_nearest() -> None:
    with pytest.raises(UserError, match="rope"):
        MIXERS["softmax"].check(shape((4, 4)), position="ropes")


@pytest.mark.parametrize("name", SCORE_POSITIONS)
def test_scores_left_to_a_later_block_hold_the_position(name: str) -> None:
    at, atom = replace(shape((4, 4), prefix=1), wanted=True), Atom("softmax", position=name)
    memory: dict[str, Tensor] = {}
    mixer, x = make(atom, at), normal(1, 17, 16)
    torch.testing.assert_close(mixer(x, memory), mixer(x))
    assert measured(Leaving(mixer), x) == mixer_cost((atom,), 0.5, at)
    assert memory["scores"].shape == (1, 2, 17, 17)


class Leaving(nn.Module):
    def __init__(self, mixer: nn.Module):
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mixer(x, {})
        return out


def test_two_positions_share_the_heads_of_a_layer() -> None:
    at, atoms = shape((4, 4), heads=4), (Atom("softmax", position="rope"), Atom("softmax", position="log_cpb"))
    mixer = randomised(build_mixer(atoms, 0.5, at))
    assert isinstance(mixer, Attention)
    assert mixer.heads == (2, 2)
    assert measured(mixer, normal(1, 16, 32)) == mixer_cost(atoms, 0.5, at)


def test_a_position_in_the_scores_tells_tokens_apart_and_needs_the_grid() -> None:
    def rules(a: Atom, reduction: Atom) -> set[str]:
        stage = Stage(width=32, depth=4, head_dim=8, a=a)
        genotype = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(stage,), reduction=reduction)
        return {problem.rule for problem in find_problems(genotype, image_size=16)}

    placed, none = Atom("softmax", position="rope"), Atom("none")
    assert rules(Atom("softmax"), none) == {"V11"}
    assert rules(placed, none) == set()
    assert rules(placed, Atom("tome", keep=0.5)) == {"V8"}
