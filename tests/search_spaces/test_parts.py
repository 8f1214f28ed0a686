"""The contracts of everything around the mixers, over whole registries."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import search_spaces.plan  # noqa: F401  registers every part
from nas.genotype import Atom
from search_spaces.downsamplers.convolution import OverlapDown, PatchDown
from search_spaces.heads.class_attention import ClassAttentionHead
from search_spaces.parts import DOWNSAMPLERS, FFNS, HEADS, LOCALS, NORMS, POSITIONS, STEMS, make_norm, norm_cost
from tests.search_spaces.counting import measured, randomised

GRIDS = [(8, 8), (7, 5), (1, 3)]
NORM = Atom("layer")
STEM_CASES = [
    Atom("patch", size=4), Atom("patch", size=2, norm=True),
    Atom("overlap", stride=2), Atom("overlap", stride=4, kernel=7, padding=2), Atom("overlap", stride=1, norm=False),
    Atom("convstack", stride=1), Atom("convstack", stride=4), Atom("convstack", stride=4, relu=True),
    Atom("overlap", stride=4, kernel=7, padding=3, batch=True), Atom("cmt"), Atom("cmt", stride=4),
    *(Atom("shuffle", width=8, stride=s) for s in (1, 2, 4)),
    *(Atom("three_convolutions", stride=s) for s in (2, 4, 8, 12)),
    Atom("convolutions"), Atom("convolutions", width=8, bias=True, same=True, act="silu"),
    *(Atom("tokens_to_token", stride=s, token_dim=8) for s in (1, 2, 4, 8, 16)),
    Atom("tokens_to_token", stride=8, attention="performer"),
]  # fmt: skip
FFN_CASES = [
    Atom("mlp", ratio=2), Atom("mlp", ratio=2.5), *(Atom("mlp", act=a) for a in ("silu", "relu6", "quick_gelu")),
    Atom("batch_norm_mlp", ratio=3),
    Atom("mix", ratio=3), Atom("mix", skip=True), Atom("mix", relu=True), Atom("mix", skip_norm=True),
    Atom("inverted_residual", ratio=2), *(Atom("mixture", ratio=3, top_k=k) for k in (1, 2)),
]  # fmt: skip
POSITION_CASES = [
    Atom("learned"), Atom("learned", every_stage=True),
    Atom("fourier"), Atom("fourier", bands=8), Atom("conditional"),
]  # fmt: skip
DOWN_CASES = [
    Atom("merge"), Atom("deformable"), Atom("attention"), Atom("attention", head_dim=4),
    Atom("attention", late=True), Atom("mbconv"), Atom("mbconv", expand=2, same=True, act="gelu_tanh"),
    Atom("mbconv_pooled"), Atom("mbconv_pooled", expand=2),
    *(Atom(kind, norm=norm) for kind in ("patch", "overlap") for norm in ("before", "after", "batch", "none")),
    Atom("patch", norm="batch_before", proj_bias=False),
]  # fmt: skip
LOCAL_CASES = [Atom("lpi"), Atom("lpi", kernel=5), Atom("lpu"), Atom("cpe"), Atom("neighbour_window")]
HEAD_CASES = [
    Atom("cls"), *(Atom("pool", place=p) for p in ("before", "after", "none")),
    Atom("expanded", hidden=24),
    Atom("class_attention", num_heads=4), Atom("class_attention", depth=1, num_heads=2, ratio=3, tokens_norm=False),
]  # fmt: skip


def normal(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(1))


def assert_learns(module: nn.Module, *inputs: Tensor) -> None:
    """Every parameter that is not frozen receives a finite gradient in training."""
    module.train()(*inputs).square().sum().backward()
    for name, parameter in ((n, p) for n, p in module.named_parameters() if p.requires_grad):
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    ("registry", "cases"),
    [
        (STEMS, STEM_CASES), (FFNS, [*FFN_CASES, Atom("none")]), (POSITIONS, POSITION_CASES),
        (DOWNSAMPLERS, DOWN_CASES), (LOCALS, LOCAL_CASES), (HEADS, HEAD_CASES),
        (NORMS, [Atom("layer"), Atom("batch"), Atom("group"), Atom("none")]),
    ],
)  # fmt: skip
def test_every_registered_part_has_a_case_here(registry: Any, cases: list[Atom]) -> None:
    assert set(registry) == {atom.kind for atom in cases}


@pytest.mark.parametrize("image", [(16, 16), (21, 11)])
@pytest.mark.parametrize("atom", STEM_CASES, ids=str)
def test_stem(atom: Atom, image: tuple[int, int]) -> None:
    settings = {"in_chans": 3, "dim": 24, "image_size": image, **atom.params}
    stem, (h, w) = randomised(STEMS[atom.kind](**settings)), STEMS[atom.kind].grid(image, **atom.params)
    assert stem(normal(2, 3, *image)).shape == (2, h * w, 24)
    assert measured(stem, normal(1, 3, *image)) == STEMS[atom.kind].cost(**settings)
    assert_learns(stem, normal(2, 3, *image))


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("atom", FFN_CASES, ids=str)
def test_ffn(atom: Atom, grid: tuple[int, int], prefix: int) -> None:
    kind, n = FFNS[atom.kind], grid[0] * grid[1]
    ffn = randomised(kind(dim=16, grid=grid, **atom.params))
    assert ffn(normal(2, prefix + n, 16)).shape == (2, prefix + n, 16)
    assert measured(ffn, normal(1, prefix + n, 16)) == kind.cost(dim=16, tokens=n, prefix=prefix, **atom.params)
    assert_learns(ffn, normal(2, prefix + n, 16))


@pytest.mark.parametrize("atom", FFN_CASES, ids=str)
def test_ffn_without_a_convolution_treats_tokens_alone(atom: Atom) -> None:
    ffn, x = randomised(FFNS[atom.kind](dim=16, grid=(4, 4), **atom.params)), normal(1, 16, 16)
    alone = torch.allclose(ffn(x).flip(1), ffn(x.flip(1)), atol=1e-5)
    assert alone != FFNS[atom.kind].positional


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("atom", POSITION_CASES, ids=str)
def test_position(atom: Atom, grid: tuple[int, int], prefix: int) -> None:
    kind, x = POSITIONS[atom.kind], normal(1, prefix + grid[0] * grid[1], 16)
    position = randomised(kind(dim=16, grid=grid, prefix=prefix, **atom.params))
    assert position(x.expand(2, -1, -1)).shape == (2, *x.shape[1:])
    assert measured(position, x) == kind.cost(dim=16, grid=grid, prefix=prefix, **atom.params)
    assert_learns(position, x)


@pytest.mark.parametrize("atom", POSITION_CASES, ids=str)
def test_position_tells_equal_tokens_apart(atom: Atom) -> None:
    position = randomised(POSITIONS[atom.kind](dim=16, grid=(3, 3), prefix=0, **atom.params))
    rows = position(torch.ones(1, 9, 16))[0]
    distances = torch.cdist(rows, rows) + torch.eye(9)
    assert (distances > 1e-2).all()


@pytest.mark.parametrize("grid", [(8, 8), (7, 5), (1, 3)])
@pytest.mark.parametrize("atom", DOWN_CASES, ids=str)
def test_downsampler(atom: Atom, grid: tuple[int, int]) -> None:
    kind, n = DOWNSAMPLERS[atom.kind], grid[0] * grid[1]
    h, w = kind.grid(grid, **atom.params)
    assert (h, w) == (-(-grid[0] // 2), -(-grid[1] // 2))
    down = randomised(kind(dim=8, out_dim=12, grid=grid, **atom.params))
    assert down(normal(2, n, 8)).shape == (2, h * w, 12)
    assert measured(down, normal(1, n, 8)) == kind.cost(dim=8, out_dim=12, grid=grid, **atom.params)
    assert_learns(down, normal(2, n, 8))


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("atom", LOCAL_CASES, ids=str)
def test_local(atom: Atom, grid: tuple[int, int], prefix: int) -> None:
    kind, n = LOCALS[atom.kind], grid[0] * grid[1]
    local = randomised(kind(dim=16, grid=grid, **atom.params))
    assert local(normal(2, prefix + n, 16)).shape == (2, prefix + n, 16)
    assert measured(local, normal(1, prefix + n, 16)) == kind.cost(dim=16, tokens=n, **atom.params)
    assert_learns(local, normal(2, prefix + n, 16))


@pytest.mark.parametrize("prefix", [1, 3])
@pytest.mark.parametrize("atom", HEAD_CASES, ids=str)
def test_head(atom: Atom, prefix: int) -> None:
    kind, x = HEADS[atom.kind], normal(2, prefix + 21, 16)
    head = randomised(kind(dim=16, classes=5, prefix=prefix, norm=NORM, **atom.params))
    assert head(x).shape == (2, 5)
    assert measured(head, x[:1]) == kind.cost(dim=16, classes=5, tokens=21, prefix=prefix, **atom.params)
    assert_learns(head, x)


@pytest.mark.parametrize("kind", [k for k in HEADS if HEADS[k].needs_cls])
def test_heads_that_need_a_class_token_read_row_zero(kind: str) -> None:
    head, x = randomised(HEADS[kind](dim=16, classes=5, prefix=1, norm=NORM)), normal(2, 10, 16)
    torch.testing.assert_close(head(x), head(x[:, :1]))


@pytest.mark.parametrize("atom", HEAD_CASES[1:], ids=str)
def test_other_heads_do_not_read_the_prefix(atom: Atom) -> None:
    head, x = randomised(HEADS[atom.kind](dim=16, classes=5, prefix=2, norm=NORM, **atom.params)), normal(2, 10, 16)
    moved = x.clone()
    moved[:, :2] += 1
    torch.testing.assert_close(head(x), head(moved))


@pytest.mark.parametrize("kind", [kind for kind in NORMS if kind != "none"])
def test_norm(kind: str) -> None:
    norm, x = make_norm(Atom(kind), 8), normal(2, 10, 8) * 3 + 1
    mapped = {"group": nn.GroupNorm(1, 8), "batch": nn.BatchNorm1d(8)}
    wanted = mapped[kind](x.transpose(1, 2)).transpose(1, 2) if kind in mapped else nn.LayerNorm(8)(x)
    torch.testing.assert_close(norm(x), wanted, rtol=1e-4, atol=1e-5)
    assert measured(norm, x[:1]) == norm_cost(Atom(kind), 8)


def test_prefix_tokens_pass_by_what_belongs_to_the_grid() -> None:
    x = normal(1, 2 + 16, 8)
    for kind in ("lpu", "cpe"):
        assert torch.equal(randomised(LOCALS[kind](dim=8, grid=(4, 4)))(x)[:, :2], x[:, :2])
    assert randomised(LOCALS["lpi"](dim=8, grid=(4, 4)))(x)[:, :2].abs().max() == 0
    for kind in ("conditional", "fourier"):
        assert torch.equal(randomised(POSITIONS[kind](dim=8, grid=(4, 4), prefix=2))(x)[:, :2], x[:, :2])


def test_merging_concatenates_columns_of_a_patch() -> None:
    """Upper left, lower left, upper right, lower right; what an odd side lacks is zero."""
    merging, x = DOWNSAMPLERS["merge"](dim=1, out_dim=4, grid=(2, 3)), torch.arange(1.0, 7.0).reshape(1, 6, 1)
    merging.norm, merging.reduction.weight.data = nn.Identity(), torch.eye(4)
    assert merging(x).tolist() == [[[1, 4, 2, 5], [3, 6, 0, 0]]]


def test_downsampling_convolutions_on_even_maps_equal_pytorch_convolutions() -> None:
    for kind, padding in ((PatchDown, 0), (OverlapDown, 1)):
        down = randomised(kind(dim=4, out_dim=6, grid=(6, 4), norm="none"))
        x = normal(1, 24, 4)
        wanted = torch.conv2d(x.mT.reshape(1, 4, 6, 4), down.proj.weight, down.proj.bias, 2, padding)
        torch.testing.assert_close(down(x), wanted.flatten(2).mT)


def test_class_attention_head_counts_as_published() -> None:
    """XCiT-S12: two class-attention layers of width 384, the class token, the norm and 1000 classes."""
    block = 4 * (384**2 + 384) + 2 * 4 * 384**2 + 5 * 384 + 6 * 384
    head = ClassAttentionHead(dim=384, classes=1000, prefix=0, norm=NORM)
    assert sum(p.numel() for p in head.parameters()) == 2 * block + 384 + 2 * 384 + 385_000
