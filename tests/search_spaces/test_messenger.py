"""What is special to messengers: how they exchange, what a window sees, and how far two blocks reach."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from search_spaces.costs import Shape
from search_spaces.mixers.messenger import MessengerAttention, exchange
from search_spaces.mixers.window import WindowAttention
from search_spaces.score_positions.base import relative_index
from tests.search_spaces.counting import measured, randomised

SHAPE = Shape(dim=16, heads=2, head_dim=8, grid=(8, 8), tokens=64, wanted=True)


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def mixer(grid: tuple[int, int] = (8, 8), **params: Any) -> MessengerAttention:
    return randomised(MessengerAttention(16, 2, grid, **{"given": True, "wanted": True, **params}))


@pytest.mark.parametrize(("count", "regions"), [((4, 4), 1), ((4, 4), 2), ((2, 4), 2), ((4, 2), 1)])
def test_messengers_exchange_slices_inside_a_region(count: tuple[int, int], regions: int) -> None:
    rows, columns = count
    high, wide = rows // regions, columns // regions
    x, width = normal(2, rows * columns, 16), 16 // (high * wide)
    region = [(w // columns // high, w % columns // wide) for w in range(rows * columns)]
    members = [[w for w, own in enumerate(region) if own == region[v]] for v in range(rows * columns)]
    wanted = torch.zeros_like(x)
    for window, others in enumerate(members):
        mine = others.index(window)
        for slot, other in enumerate(others):
            wanted[:, window, slot * width : (slot + 1) * width] = x[:, other, mine * width : (mine + 1) * width]
    torch.testing.assert_close(exchange(x, count, regions), wanted, rtol=0, atol=0)


def test_the_exchange_is_its_own_inverse_and_nothing_for_one_window() -> None:
    x = normal(2, 16, 16)
    assert not torch.equal(exchange(x, (4, 4), 2), x)
    assert torch.equal(exchange(exchange(x, (4, 4), 2), (4, 4), 2), x)
    assert torch.equal(exchange(x, (4, 4), 4), x)


def test_windows_that_ignore_their_messenger_are_window_attention() -> None:
    ours, x = mixer((7, 5), wanted=False), normal(2, 35, 16)
    ours.attention.windows.towards.data.fill_(-1e9)
    core = WindowAttention(16, 2, 8, (7, 5))
    core.load_state_dict({"table": ours.attention.windows.table})
    q, k, v = ours.attention.qkv(x).unflatten(2, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind(0)
    wanted = ours.attention.proj(core.attend(q, k, v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(ours(x, {"messengers": normal(2, 4, 16)}), wanted, rtol=1e-4, atol=1e-5)


def test_the_last_window_of_a_padded_map_is_attention_among_its_tokens_and_messenger() -> None:
    """7x5 tokens in windows of 4x3: the last holds 3x2."""
    ours, x, messengers = mixer((7, 5)), normal(1, 35, 16), normal(1, 4, 16, seed=2)
    for_messengers, for_tokens = ours.attention(x, messengers.unsqueeze(2))
    rows = [w * 5 + c for w in (4, 5, 6) for c in (3, 4)]
    q, k, v = ours.attention.qkv(torch.cat([messengers[0, 3:], x[0, rows]])).unflatten(1, (3, 2, 8)).permute(1, 2, 0, 3)
    bias, places = torch.zeros(2, 7, 7), [r * 3 + c for r in range(3) for c in range(2)]
    bias[:, 1:, 0] = ours.attention.windows.towards[:, None]
    bias[:, 1:, 1:] = ours.attention.windows.table[relative_index((4, 3))[places][:, places]].permute(2, 0, 1)
    wanted = ours.attention.proj(((q @ k.mT / 8**0.5 + bias).softmax(dim=2) @ v).transpose(0, 1).flatten(1))
    torch.testing.assert_close(for_messengers[0, 3, 0], wanted[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(for_tokens[0, rows], wanted[1:], rtol=1e-4, atol=1e-5)


def test_two_blocks_reach_the_region_and_one_its_window() -> None:
    blocks = mixer(given=False, divisions=4, regions=2), mixer(wanted=False, divisions=4, regions=2)

    def seen(x: Tensor) -> Tensor:
        memory: dict[str, Tensor] = {}
        return torch.stack([x + blocks[0](x, memory), blocks[1](x, memory)])

    x = normal(1, 64, 16).requires_grad_()
    first, second = seen(x)[:, 0, 0].unbind(0)
    grads = (torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for y in (first, second))
    near, far = (grad[0].abs().sum(dim=1).view(8, 8) for grad in grads)
    assert near[:2, :2].gt(0).all()
    assert not near[2:].any()
    assert far[:4, :4].gt(0).all()
    assert not far[4:].any()
    assert not far[:, 4:].any()


def test_the_cost_is_what_is_counted_wherever_in_a_stage_the_block_stands() -> None:
    for place in ({"wanted": True}, {"given": True, "wanted": True}, {"given": True, "wanted": False}):
        at = replace(SHAPE, **place)
        ours, memory = mixer(divisions=4, **{"given": False, **place}), {"messengers": normal(1, 16, 16)}
        assert measured(ours, normal(1, 64, 16), memory) == MessengerAttention.cost(at, divisions=4)


@pytest.mark.parametrize(
    ("params", "changes", "reason"),
    [
        ({}, {"wanted": False}, "carry nothing to a later block"),
        ({"divisions": 4, "regions": 3}, {}, "4x4 windows do not fall into 3x3 regions"),
        ({"divisions": 4}, {"dim": 24}, "messengers of 24 channels cannot be shared out among 16 windows"),
        ({"divisions": 8}, {}, "groups of 1x1 tokens"),
        ({}, {"grid": None}, "need the grid"),
    ],
)
def test_what_messengers_cannot_do_is_refused(params: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    assert reason in (MessengerAttention.check(replace(SHAPE, **changes), **params) or "")
    assert MessengerAttention.check(SHAPE, divisions=4, regions=2) is None


def test_messengers_see_the_map_behind_a_block_that_has_left_them_all() -> None:
    assert not MessengerAttention.sees_all(SHAPE)
    assert MessengerAttention.sees_all(replace(SHAPE, given=True))
    assert not MessengerAttention.sees_all(replace(SHAPE, given=True), regions=2)
    assert MessengerAttention.sees_all(SHAPE, divisions=1)
