"""What is special to deformable attention: where its points lie, and what it is without offsets."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom, Genotype, Stage
from search_spaces.costs import Shape
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers.deformable import DeformableAttention, SampledTable, SamplingPoints
from search_spaces.mixers.windows import relative_index
from search_spaces.model import build
from tests.search_spaces.counting import measured, randomised


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def shape(*grid: int) -> Shape:
    return Shape(dim=16, heads=4, head_dim=4, grid=(grid[0], grid[1]), tokens=grid[0] * grid[1])


def still(grid: tuple[int, int], **params: Any) -> DeformableAttention:
    """Random weights, but points that stay where they start."""
    mixer = randomised(DeformableAttention(16, 4, grid, **params))
    mixer.points.init_special()
    return mixer


def attention(mixer: DeformableAttention, x: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
    q, (k, v) = mixer.q(x), mixer.kv(keys).chunk(2, dim=2)
    q, k, v = (t.unflatten(2, (4, 4)).transpose(1, 2) for t in (q, k, v))
    logits = q @ k.mT / 2 if bias is None else q @ k.mT / 2 + bias
    return mixer.proj((logits.softmax(dim=3) @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("grid", [(6, 6), (7, 5)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_without_offsets_and_reduction_it_is_attention_with_relative_positions(
    grid: tuple[int, int], groups: int
) -> None:
    mixer, x = still(grid, reduction=1, groups=groups, kernel=3), normal(2, grid[0] * grid[1], 16)
    bias = mixer.table.weight.flatten(1)[:, relative_index(grid)]
    torch.testing.assert_close(mixer(x), attention(mixer, x, x, bias), rtol=1e-4, atol=1e-5)


def test_without_offsets_a_reduction_of_two_is_average_pooling() -> None:
    mixer, x = still((6, 8), bias="none"), normal(2, 48, 16)
    pooled = to_tokens(F.avg_pool2d(to_map(x, (6, 8)), 2))
    torch.testing.assert_close(mixer(x), attention(mixer, x, pooled), rtol=1e-4, atol=1e-5)


def test_an_odd_reduction_samples_the_tokens_in_the_middle() -> None:
    points, x = SamplingPoints(16, (6, 9), 3, 2, 3, 1.0, "centred"), normal(2, 16, 6, 9)
    points.init_special()
    torch.testing.assert_close(points.sample(x, points(x)), x[:, :, 1::3, 1::3])


def test_an_offset_of_one_token_samples_the_next_token() -> None:
    points, x = SamplingPoints(16, (5, 7), 1, 1, 3, 1.0, "centred"), normal(2, 16, 5, 7)
    moved = points.start + torch.tensor([2 / 7, 0])
    torch.testing.assert_close(points.sample(x, moved.expand(2, -1, -1, -1))[..., :-1], x[..., 1:])


def test_offsets_stay_inside_their_range() -> None:
    points = randomised(SamplingPoints(16, (8, 8), 2, 2, 5, 2.0, "centred"))
    points.offset.weight.data *= 100
    moved = (points(normal(3, 16, 8, 8)) - points.start).abs()
    assert 0.4 < moved.max() <= 2 / 4 + 1e-6


def test_free_points_stay_on_the_map() -> None:
    points = randomised(SamplingPoints(16, (8, 8), 2, 2, 5, -1.0, "centred"))
    points.offset.weight.data *= 100
    assert points(normal(3, 16, 8, 8)).abs().max() == 1


def test_published_points_lie_half_a_token_off_and_partly_outside() -> None:
    start = SamplingPoints(16, (14, 14), 1, 1, 3, 1.0, "published").start
    torch.testing.assert_close(start.max(), torch.tensor(14 / 13))
    assert SamplingPoints(16, (14, 14), 1, 1, 3, 1.0, "centred").start.max() < 1


def test_a_map_of_one_row_is_no_exception() -> None:
    mixer, x = randomised(DeformableAttention(16, 4, (1, 8), kernel=3)), normal(2, 8, 16)
    assert torch.isfinite(mixer(x)).all()


def test_the_table_is_read_between_its_entries() -> None:
    table = SampledTable(2, (4, 4), 1, "centred")
    table.weight.data = torch.arange(7.0).expand(2, 7, 7).clone()  # grows by one with each token to the right
    points = torch.tensor([0.1, 0.0]).view(1, 1, 1, 2)
    columns = (torch.arange(4) * 2 + 1) / 4 - 1
    torch.testing.assert_close(table(points)[0, 0, :4, 0], 3 + (columns - 0.1) * 2, rtol=1e-4, atol=1e-5)


def test_training_starts_from_a_regular_grid_and_leaves_it() -> None:
    stage = Stage(width=16, depth=1, head_dim=4, a=Atom("deformable"), ffn=Atom("mlp", ratio=2))
    network = build(Genotype(topology="plain", stem=Atom("patch", size=2), stages=(stage,)), image_size=16, classes=3)
    points = network.stages[0].blocks[0].mixer.points
    network(normal(2, 3, 16, 16)).square().sum().backward()
    assert points.offset.weight.abs().max() == 0
    assert points.offset.weight.grad.abs().max() > 0


@pytest.mark.parametrize("grid", [(8, 8), (7, 5)])
@pytest.mark.parametrize(
    "settings",
    [{"bias": "none"}, {"bias": "convolution"}, {"reduction": 1, "kernel": 3, "groups": 4}, {"reference": "published"}],
)
def test_every_form_costs_what_pytorch_counts(grid: tuple[int, int], settings: dict[str, Any]) -> None:
    seen = measured(DeformableAttention(16, 4, grid, **settings), normal(1, grid[0] * grid[1], 16))
    assert seen == DeformableAttention.cost(shape(*grid), **settings)


def test_groups_that_do_not_divide_the_heads_are_refused() -> None:
    assert "3 groups for 4 heads" in str(DeformableAttention.check(shape(8, 8), groups=3))
    assert "2x2" in str(DeformableAttention.check(shape(4, 4), reduction=4))


def test_references_and_biases_are_named() -> None:
    with pytest.raises(ValueError, match="table, convolution or none"):
        DeformableAttention(16, 4, (8, 8), bias="log")
    with pytest.raises(ValueError, match="centred or published"):
        DeformableAttention(16, 4, (8, 8), reference="official")


@pytest.mark.parametrize("kind", ["deformable(groups=1, reduction=2)", "deformable_large_kernel"])
def test_a_training_that_diverges_does_not_end_the_process(kind: str) -> None:
    stage = Stage(width=16, depth=2, head_dim=8, a=Atom.parse(kind))
    genotype = Genotype(topology="plain", stem=Atom("patch", size=2), position=Atom("conditional"), stages=(stage,))
    network = build(genotype, image_size=16, in_chans=1, classes=3)
    for parameter in network.parameters():
        nn.init.constant_(parameter, float("nan"))
    for _ in range(3):
        loss = F.cross_entropy(network(torch.randn(4, 1, 16, 16)), torch.zeros(4, dtype=torch.long))
        loss.backward()
    assert loss.isnan()
