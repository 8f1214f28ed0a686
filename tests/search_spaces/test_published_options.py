"""Options that published networks need for exactness, each against PyTorch's own modules or a plain computation."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluators.cost import count
from nas.errors import UserError
from nas.genotype import NONE, Atom, Genotype, Stage
from search_spaces.canonical import canonical
from search_spaces.convolution import Conv3x3, activation, same_padding
from search_spaces.costs import Shape
from search_spaces.downsamplers.attention import AttentionDown
from search_spaces.downsamplers.mbconv import MBConvDown
from search_spaces.heads.class_token import ClassTokenHead
from search_spaces.heads.pool import PoolHead
from search_spaces.mixers import build_mixer, mixer_cost
from search_spaces.mixers.distance_bias import DistanceBiasAttention
from search_spaces.model import build
from search_spaces.positions.learned import LearnedPosition
from search_spaces.rules import find_problems
from tests.search_spaces.counting import measured, randomised

NORM = Atom("layer")
WINDOW = Atom("window", window=4, position_bias=False)
VIT = Genotype(
    topology="plain", stem=Atom("patch", size=8), stages=(Stage(width=16, depth=1, head_dim=8),),
    position=Atom("learned"), cls_token=True, head=Atom("cls"),
)  # fmt: skip


def normal(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(1))


def on(grid: tuple[int, int]) -> Shape:
    return Shape(dim=16, heads=2, head_dim=8, grid=grid, tokens=grid[0] * grid[1])


@pytest.mark.parametrize("grid", [(6, 5), (3, 3), (8, 4)])
def test_pads_that_are_tokens_equal_a_padded_map(grid: tuple[int, int]) -> None:
    seen = randomised(build_mixer((Atom("window", window=4, position_bias=False, pads="tokens"),), 1.0, on(grid)))
    padded = -(-grid[0] // 4) * 4, -(-grid[1] // 4) * 4
    whole = build_mixer((WINDOW,), 1.0, on(padded)).eval()
    whole.load_state_dict(seen.state_dict())
    x = normal(2, grid[0] * grid[1], 16)
    zeros = F.pad(x.unflatten(1, grid), (0, 0, 0, padded[1] - grid[1], 0, padded[0] - grid[0])).flatten(1, 2)
    wanted = whole(zeros).unflatten(1, padded)[:, : grid[0], : grid[1]].flatten(1, 2)
    torch.testing.assert_close(seen(x), wanted)


@pytest.mark.parametrize("kind", ["window", "shifted_window", "grid"])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_pads_that_are_tokens_cost_what_is_counted(kind: str, qkv_bias: bool) -> None:
    atom, shape = Atom(kind, window="4x3", pads="tokens", qkv_bias=qkv_bias), on((6, 5))
    assert measured(build_mixer((atom,), 1.0, shape), normal(1, 30, 16)) == mixer_cost((atom,), 1.0, shape)


def test_pads_have_no_say_where_nothing_is_padded() -> None:
    stage = Stage(width=16, depth=1, head_dim=8, a=Atom("window", window=2, pads="tokens"), ffn=Atom("mlp", ratio=4))
    genotype = Genotype(topology="plain", stem=Atom("patch", size=8), stages=(stage,))
    assert canonical(genotype, image_size=32).stages[0].a == Atom("window", window=2)
    assert canonical(genotype, image_size=40).stages[0].a == stage.a


def test_pads_that_are_tokens_are_not_for_shared_heads() -> None:
    atoms = Atom("window", window=4, pads="tokens"), Atom("softmax")
    with pytest.raises(UserError, match="for a mixer alone"):
        build_mixer(atoms, 0.5, on((6, 5)))


@pytest.mark.parametrize("window", ["7by5", "x3", "4x"])
def test_a_window_that_is_no_size_is_refused(window: str) -> None:
    with pytest.raises(ValueError, match="height and width such as 7x5"):
        build_mixer((Atom("window", window=window),), 1.0, on((6, 5)))


def test_a_class_token_may_have_no_position() -> None:
    position, x = randomised(LearnedPosition(16, (3, 2), 1, class_row=False)), normal(1, 7, 16)
    assert torch.equal(position(x)[:, :1], x[:, :1])
    torch.testing.assert_close(position(x)[:, 1:], x[:, 1:] + position.table)
    assert measured(position, x) == LearnedPosition.cost(dim=16, grid=(3, 2), prefix=1, class_row=False)


def test_a_distilled_head_averages_two_classifiers() -> None:
    head, x = randomised(ClassTokenHead(16, 5, 2, NORM, distilled=True)), normal(2, 9, 16)
    rows = nn.functional.layer_norm(x, (16,), head.norm.weight, head.norm.bias, 1e-6)
    torch.testing.assert_close(head(x), (head.fc(rows[:, 0]) + head.fc_distilled(rows[:, 1])) / 2)
    assert measured(head, x[:1]) == ClassTokenHead.cost(dim=16, classes=5, tokens=7, prefix=2, distilled=True)


def test_a_distilled_head_needs_a_register() -> None:
    genotype = replace(VIT, head=Atom("cls", distilled=True))
    assert [p.rule for p in find_problems(genotype, image_size=32)] == ["V9"]
    assert find_problems(replace(genotype, registers=1), image_size=32) == []


def test_a_norm_may_come_after_each_branch() -> None:
    network = build(VIT.with_stage(0, norm=Atom("layer", after=True)), image_size=32, classes=5)
    block, x = randomised(network).stages[0].blocks[0], normal(2, 17, 16)
    y = x + block.norm1(block.mixer(x))
    torch.testing.assert_close(block(x), y + block.norm2(block.ffn(y)))


@pytest.mark.parametrize("params", [{"layer_norm": True, "place": "after"}, {"hidden": 12}])
def test_pooling_heads_cost_what_is_counted(params: dict[str, int]) -> None:
    head = randomised(PoolHead(16, 5, 0, Atom("group"), **params))
    assert measured(head, normal(1, 6, 16)) == PoolHead.cost(dim=16, classes=5, tokens=6, prefix=0, **params)


def test_a_hidden_layer_with_tanh_may_precede_the_classifier() -> None:
    head, x = randomised(PoolHead(16, 5, 0, NORM, place="none", hidden=12)), normal(2, 6, 16)
    torch.testing.assert_close(head(x), head.fc(torch.tanh(head.hidden.fc(x.mean(dim=1)))))


@pytest.mark.parametrize(("side", "wanted"), [(8, (0, 1)), (7, (1, 1)), (1, (1, 1))])
def test_same_padding_puts_less_in_front(side: int, wanted: tuple[int, int]) -> None:
    """An even side under stride 2 needs one pad, at its end."""
    assert same_padding((side, 9), 3, 2) == (1, 1, *wanted)
    convolution = Conv3x3(1, 1, (side, 9), stride=2, same=True)
    assert convolution(normal(1, 1, side, 9)).shape[2:] == (-(-side // 2), 5)


def test_activations_are_those_of_pytorch() -> None:
    x = normal(50) * 3
    assert torch.equal(activation("gelu_tanh")(x), F.gelu(x, approximate="tanh"))
    torch.testing.assert_close(activation("silu")(x), x * x.sigmoid())
    with pytest.raises(ValueError, match="gelu, gelu_tanh, quick_gelu, silu, relu"):
        activation("swish")


def test_an_mbconv_without_its_branch_is_a_pooled_shortcut() -> None:
    down, x = randomised(MBConvDown(8, 8, (4, 6))), normal(2, 24, 8)
    down.narrow.weight.data.zero_()
    down.narrow.bias.data.zero_()
    wanted = F.avg_pool2d(x.mT.unflatten(2, (4, 6)), 2).flatten(2).mT
    torch.testing.assert_close(down(x), wanted)


def test_stride_one_keeps_the_map() -> None:
    down = randomised(MBConvDown(8, 8, (3, 5), stride=1))
    assert down(normal(2, 15, 8)).shape == (2, 15, 8)
    assert measured(down, normal(1, 15, 8)) == MBConvDown.cost(dim=8, out_dim=8, grid=(3, 5), stride=1)


def test_attention_down_equals_attention_with_a_bias_for_each_offset() -> None:
    down, x = randomised(AttentionDown(8, 12, (4, 6), head_dim=6)), normal(2, 24, 8)
    means = F.avg_pool2d(down.norm(x).mT.unflatten(2, (4, 6)), 2).flatten(2).mT
    q, k, v = down.qkv(means).unflatten(2, (3, 2, 6)).permute(2, 0, 3, 1, 4)
    places = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    offset = places[:, None] - places[None] + torch.tensor([1, 2])
    bias = down.core.table[offset[..., 0] * 5 + offset[..., 1]].permute(2, 0, 1)
    mixed = ((q @ k.mT / 6**0.5 + bias).softmax(dim=3) @ v).transpose(1, 2).flatten(2)
    shortcut = down.shortcut(x.mT.unflatten(2, (4, 6))).flatten(2).mT
    torch.testing.assert_close(down(x), shortcut + down.proj(mixed))


@pytest.mark.parametrize("out_dim", [12, 20, 32])
def test_attention_down_takes_the_largest_head_that_divides(out_dim: int) -> None:
    down = AttentionDown(8, out_dim, (4, 4), head_dim=32)
    assert out_dim % down.num_heads == 0
    cost = AttentionDown.cost(dim=8, out_dim=out_dim, grid=(4, 4), head_dim=32)
    assert measured(down, normal(1, 16, 8)) == cost


def test_a_stage_may_down_sample_alone() -> None:
    """The further blocks of a convolutional stage: no mixer, no feed-forward."""
    stages = (
        Stage(width=8, depth=1, head_dim=8),
        Stage(width=8, depth=1, a=NONE, ffn=NONE, down=Atom("mbconv", stride=1)),
    )
    genotype = Genotype(topology="pyramid", stem=Atom("convolutions"), stages=stages)
    assert build(genotype, image_size=8, classes=3)(normal(2, 3, 8, 8)).shape == (2, 3)


def test_networks_without_biases_and_with_scaled_residuals_cost_what_is_counted() -> None:
    """The counter of products and closed forms agree for a whole MetaFormer."""
    stage = Stage(
        width=8, depth=2, head_dim=8, a=Atom("softmax", qkv_bias=False, proj_bias=False), b=Atom("separable", kernel=3),
        ffn=Atom("mlp", ratio=2, act="star_relu", bias=False), norm=Atom("group", bias=False, residual=1.0),
    )  # fmt: skip
    genotype = Genotype(
        topology="pyramid", stem=Atom("overlap", stride=4, norm_bias=False),
        stages=(stage, replace(stage, down=Atom("overlap", norm="before", bias=False))),
        head=Atom("pool", place="after", layer_norm=True, hidden=12, squared=True),
    )  # fmt: skip
    network = build(genotype, image_size=32, classes=5)
    assert measured(network, normal(1, 3, 32, 32)) == count(genotype, image_size=32, classes=5).total


def test_a_residual_may_have_a_factor_for_each_channel() -> None:
    network = build(VIT.with_stage(0, norm=Atom("layer", residual=1.0)), image_size=32, classes=5)
    block, x = randomised(network).stages[0].blocks[0], normal(2, 17, 16)
    y = block.rs1.gamma * x + block.mixer(block.norm1(x))
    torch.testing.assert_close(block(x), block.rs2.gamma * y + block.ffn(block.norm2(y)))


@pytest.mark.parametrize("norm", [Atom("none"), Atom("layer", bias=False), Atom("group", bias=False, after=True)])
def test_a_head_norms_with_a_bias_even_where_blocks_do_not(norm: Atom) -> None:
    genotype = VIT.with_stage(0, norm=norm)
    network = build(genotype, image_size=32, classes=5)
    assert measured(network, normal(1, 3, 32, 32)) == count(genotype, image_size=32, classes=5).total
    assert network.head.norm.bias is not None


def test_a_star_relu_keeps_mean_and_variance_of_normal_inputs() -> None:
    y = activation("star_relu")(normal(100_000))
    assert y.mean().item() == pytest.approx(0, abs=0.02)
    assert y.var().item() == pytest.approx(1, abs=0.05)


def test_a_bias_by_distance_is_that_of_mirrored_offsets() -> None:
    attention, x = randomised(DistanceBiasAttention(8, 1, (2, 3), heads=2, key=4, ratio=2)), normal(2, 6, 8)
    q, k, v = attention.qkv(x).unflatten(2, (2, 16)).transpose(1, 2).split((4, 4, 8), dim=3)
    places = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    dy, dx = (places[:, None] - places[None]).abs().unbind(2)
    weights = (q @ k.mT / 2 + attention.table.unflatten(1, (2, 3))[:, dy, dx]).softmax(dim=3)
    torch.testing.assert_close(attention(x), attention.proj((weights @ v).transpose(1, 2).flatten(2)))
