"""What is special to carriers: where they come from, how they are laid out, and what they bring to the windows."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces.costs import Shape
from search_spaces.layer import to_map
from search_spaces.mixers.carrier import CarrierAttention, PlaceEmbedding
from search_spaces.score_positions.log_cpb import LogContinuousBias
from tests.search_spaces.counting import measured, randomised

SHAPE = Shape(dim=16, heads=2, head_dim=8, grid=(8, 12), tokens=96)


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def mixer(grid: tuple[int, int] = (8, 12), **params: Any) -> CarrierAttention:
    return randomised(CarrierAttention(16, 2, grid, **params))


def test_carriers_are_the_means_of_their_parts_of_the_map() -> None:
    ours, x = mixer(carriers=2), normal(2, 96, 16)
    wanted = F.avg_pool2d(ours.initial.conv(to_map(x, (8, 12))), (2, 3)).flatten(2).mT
    torch.testing.assert_close(ours.initial(x), wanted)


def test_carriers_of_a_window_stand_where_its_tokens_stand() -> None:
    """A map of 4x4 carriers in windows of 2x2, and there and back."""
    ours, places = mixer(carriers=2), torch.arange(16.0).view(1, 16, 1)
    windows = ours.to_windows(places)
    assert windows[0, 1].flatten().tolist() == [2, 3, 6, 7]
    assert torch.equal(ours.to_rows(windows), places)


@pytest.mark.parametrize("grid", [(8, 12), (7, 9)])
def test_a_window_is_attention_among_its_carriers_and_tokens(grid: tuple[int, int]) -> None:
    ours, x = mixer(grid, wanted=True, carriers=2), normal(1, grid[0] * grid[1], 16)
    carriers = normal(1, 16, 16, seed=2)
    for_carriers, for_tokens = ours.attention(x, ours.to_windows(carriers))
    high, wide = -(-grid[0] // 2), -(-grid[1] // 2)
    rows = [r * grid[1] + c for r in range(high) for c in range(wide)]  # the first window is never padded
    together = torch.cat([carriers[0, [0, 1, 4, 5]], x[0, rows]])
    q, k, v = ours.attention.qkv(together).unflatten(1, (3, 2, 8)).permute(1, 2, 0, 3)
    position = LogContinuousBias(2, 8, (high, wide))
    position.load_state_dict(ours.attention.windows.position.state_dict())
    bias = F.pad(position.bias(), (4, 0, 4, 0))
    wanted = ours.attention.proj(((q @ k.mT / 8**0.5 + bias).softmax(dim=2) @ v).transpose(0, 1).flatten(1))
    torch.testing.assert_close(for_carriers[0, 0], wanted[:4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(for_tokens[0, rows], wanted[4:], rtol=1e-4, atol=1e-5)


def test_one_block_sees_the_whole_map_through_the_carriers() -> None:
    ours, x = mixer(divisions=4), normal(1, 96, 16).requires_grad_()
    seen = torch.autograd.grad(ours(x, {})[0, 0].sum(), x)[0]
    assert seen.abs().sum(dim=2).gt(0).all()


def test_places_count_from_the_middle_in_halves_of_a_side() -> None:
    assert PlaceEmbedding(4, (4, 3)).places[::3, 0].tolist() == [-1, -0.5, 0, 0.5]
    assert PlaceEmbedding(4, (4, 3)).places[:3, 1].tolist() == [-1, 0, 1]
    assert PlaceEmbedding(4, (1, 1)).places.tolist() == [[0, 0]]


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_the_cost_is_what_is_counted_wherever_in_a_stage_the_block_stands(given: bool, wanted: bool) -> None:
    at, params = replace(SHAPE, given=given, wanted=wanted), {"carriers": 2, "divisions": 3, "ratio": 2}
    ours, memory = mixer(given=given, wanted=wanted, **params), {"carriers": normal(1, 36, 16)}
    assert measured(ours, normal(1, 96, 16), memory) == CarrierAttention.cost(at, **params)


@pytest.mark.parametrize(
    ("params", "changes", "reason"),
    [
        ({"carriers": 4}, {}, "4x4 carriers in windows of 4x6; choose between 1 and 3"),
        ({"carriers": 0}, {}, "0x0 carriers"),
        ({"divisions": 8}, {}, "groups of 1x2 tokens"),
        ({"divisions": 2, "window": 4}, {}, "give divisions or window"),
        ({"divisions": 40, "carriers": 1}, {"grid": (80, 80), "tokens": 6400}, "1600 carriers attend to each other"),
        ({}, {"grid": None}, "need the grid"),
    ],
)
def test_what_carriers_cannot_do_is_refused(params: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    assert reason in (CarrierAttention.check(replace(SHAPE, **changes), **params) or "")
    assert CarrierAttention.check(SHAPE, carriers=2) is None
