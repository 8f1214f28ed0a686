"""The contract of token reducers over the registry, and what is special to merging and slimming."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import search_spaces.reducers  # noqa: F401
from search_spaces.parts import REDUCERS
from search_spaces.reducers.evo import SlowFastTokens
from search_spaces.reducers.slimming import TokenSlimming
from search_spaces.reducers.token_fuser import TokenFuser
from search_spaces.reducers.tome import TokenMerging, bipartite_merge
from tests.search_spaces.counting import measured, randomised

CASES = [
    pytest.param(name, dict(zip(REDUCERS[name].search, values, strict=True)), id=f"{name}-{values}")
    for name in REDUCERS
    for values in product(*REDUCERS[name].search.values())
]


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


class Whole(nn.Module):
    """A reducer and, right behind it, its restoration where it has one."""

    def __init__(self, reducer: nn.Module):
        super().__init__()
        self.reducer = reducer

    def forward(self, x: Tensor) -> Tensor:
        return self.reducer.restore(*self.reducer(x)) if self.reducer.restores else self.reducer(x)


def whole(name: str, params: dict[str, Any], tokens: int, prefix: int) -> Whole:
    return Whole(randomised(REDUCERS[name](dim=16, tokens=tokens, prefix=prefix, **params)))


def few(reducer: Whole, x: Tensor) -> Tensor:
    """The tokens that go on."""
    return reducer.reducer(x)[0] if reducer.reducer.restores else reducer(x)


def test_there_are_reducers_with_values_to_search() -> None:
    assert len(REDUCERS) >= 2
    assert len(CASES) >= 2 * len(REDUCERS)


@pytest.mark.parametrize("tokens", [49, 16, 7, 1])
@pytest.mark.parametrize("prefix", [0, 1, 4])
@pytest.mark.parametrize(("name", "params"), CASES)
def test_the_prefix_and_the_promised_number_are_kept(
    name: str, params: dict[str, Any], prefix: int, tokens: int
) -> None:
    reducer, x = whole(name, params, tokens, prefix), normal(2, prefix + tokens, 16)
    y, kept = few(reducer, x), REDUCERS[name].kept(tokens, **params)
    assert 1 <= kept <= tokens
    assert y.shape == (2, prefix + kept, 16)
    assert torch.equal(y[:, :prefix], x[:, :prefix])
    assert measured(reducer, x[:1]) == REDUCERS[name].cost(dim=16, tokens=tokens, prefix=prefix, **params)


@pytest.mark.parametrize(("name", "params"), CASES)
def test_reducer_learns_is_repeatable_and_keeps_images_apart(name: str, params: dict[str, Any]) -> None:
    reducer, x = whole(name, params, 20, 1), normal(3, 21, 16).requires_grad_()
    y = reducer(x)
    y.square().sum().backward()
    assert all(t.grad is not None and torch.isfinite(t.grad).all() for t in (x, *reducer.parameters()))
    assert torch.equal(y, reducer(x))
    torch.testing.assert_close(y[1:2], reducer(x[1:2]))


@pytest.mark.parametrize(("name", "params"), CASES)
def test_reducer_can_be_exported(name: str, params: dict[str, Any]) -> None:
    reducer, x = whole(name, params, 20, 1), normal(2, 21, 16)
    torch.testing.assert_close(torch.export.export(reducer, (x,)).module()(x), reducer(x))


@pytest.mark.parametrize(("name", "params"), [c for c in CASES if REDUCERS[c.values[0]].restores])
def test_what_restores_gives_all_tokens_and_the_new_prefix(name: str, params: dict[str, Any]) -> None:
    reducer = whole(name, params, 20, 3).reducer
    x, aside = reducer(normal(2, 23, 16))
    later = normal(*x.shape, seed=2)
    restored = reducer.restore(later, aside)
    assert restored.shape == (2, 23, 16)
    assert torch.equal(restored[:, :3], later[:, :3])


@pytest.mark.parametrize(("name", "params"), [c for c in CASES if REDUCERS[c.values[0]].averages])
def test_equal_tokens_stay_what_they_are(name: str, params: dict[str, Any]) -> None:
    token = normal(1, 1, 16).expand(1, 20, 16)
    y = randomised(REDUCERS[name](dim=16, tokens=20, prefix=0, **params))(token)
    torch.testing.assert_close(y, token[:, : y.shape[1]])


def merge_by_hand(metric: Tensor, x: Tensor, size: Tensor, r: int, protected: int) -> list[Tensor]:
    """One image, token by token."""
    sources = [i for i in range(protected, len(x)) if i % 2 == 0]
    targets = [i for i in range(protected, len(x)) if i % 2 == 1]
    alike = {i: [torch.cosine_similarity(metric[i], metric[j], dim=0).item() for j in targets] for i in sources}
    merged = sorted(sources, key=lambda i: -max(alike[i]))[:r]
    groups = {j: [j] for j in targets}
    for i in merged:
        groups[targets[alike[i].index(max(alike[i]))]].append(i)
    single = [[i] for i in (*range(protected), *(s for s in sources if s not in merged))]
    rows = [*single, *groups.values()]
    return [sum(x[i] * size[i] for i in row) / sum(size[i] for i in row) for row in rows]


@pytest.mark.parametrize("protected", [0, 1, 2, 3])
def test_merging_equals_merging_by_hand(protected: int) -> None:
    metric, x, size = normal(1, 23, 5), normal(1, 23, 8), 1 + torch.arange(23.0).reshape(1, 23, 1) % 3
    merged, total, _ = bipartite_merge(metric, x, size, r=6, protected=protected)
    torch.testing.assert_close(merged[0], torch.stack(merge_by_hand(metric[0], x[0], size[0], 6, protected)))
    assert total.sum() == size.sum()


def test_merging_conserves_the_weighted_sum_and_the_class_token() -> None:
    x, size = normal(2, 38, 8), torch.ones(2, 38, 1)
    merged, total, rows = bipartite_merge(x, x, size, r=100, protected=1)
    torch.testing.assert_close((merged * total).sum(1), x.sum(1))
    assert torch.equal(merged[:, 0], x[:, 0])
    assert (total[:, 0] == 1).all()
    assert merged.shape[1] == 38 - 18 == rows.max() + 1


def test_duplicates_come_back_exactly() -> None:
    x = normal(1, 12, 8).repeat_interleave(2, dim=1)
    merged, _, rows = bipartite_merge(x, x, torch.ones(1, 24, 1), r=12, protected=0)
    torch.testing.assert_close(merged.gather(1, rows.unsqueeze(2).expand_as(x)), x, rtol=0, atol=1e-6)


def test_merging_has_no_gradient_through_the_matching() -> None:
    metric, x = normal(1, 10, 4).requires_grad_(), normal(1, 10, 4).requires_grad_()
    bipartite_merge(metric, x, torch.ones(1, 10, 1), r=3, protected=0)[0].sum().backward()
    assert metric.grad is None
    assert x.grad is not None


def test_merging_nothing_is_free_and_changes_nothing() -> None:
    reducer, x = TokenMerging(dim=16, tokens=20, prefix=1, keep=1.0), normal(2, 21, 16)
    assert torch.equal(reducer(x), x)
    assert measured(reducer, x[:1]) == TokenMerging.cost(dim=16, tokens=20, prefix=1, keep=1.0)


def test_merging_keeps_at_least_half() -> None:
    assert [TokenMerging.kept(n, keep=0.1) for n in (7, 8, 49)] == [4, 4, 25]


def test_slimming_without_weights_gives_the_mean_token() -> None:
    reducer, x = randomised(TokenSlimming(dim=16, tokens=20, prefix=0)), normal(2, 20, 16)
    torch.nn.init.zeros_(reducer.fc2.weight)
    torch.testing.assert_close(reducer(x), x.mean(1, keepdim=True).expand(2, 10, 16))


def test_slimming_ignores_the_order_of_tokens() -> None:
    reducer, x = randomised(TokenSlimming(dim=16, tokens=20, prefix=1)), normal(2, 21, 16)
    torch.testing.assert_close(reducer(x), reducer(torch.cat([x[:, :1], x[:, 1:].flip(1)], dim=1)))


def test_slimming_has_the_published_sizes() -> None:
    reducer = TokenSlimming(dim=64, tokens=24, prefix=1, keep=0.5)
    assert sum(p.numel() for p in reducer.parameters()) == 2605
    assert [TokenSlimming.kept(196, keep=0.5**i) for i in range(4)] == [196, 98, 49, 24]


def test_the_fuser_adds_nothing_at_first() -> None:
    reducer, x = TokenFuser(dim=16, tokens=20, prefix=1), normal(2, 21, 16)
    reducer.init_special()
    torch.testing.assert_close(reducer.restore(*reducer(x)), x)


def test_fused_tokens_are_the_shares_of_the_mixed_ones() -> None:
    reducer, x, learned = randomised(TokenFuser(dim=16, tokens=20, prefix=0)), normal(1, 20, 16), normal(1, 8, 16)
    mixed = reducer.norm_mixed(
        torch.einsum("st,tc->sc", reducer.mix.weight, reducer.norm_learned(learned[0])) + reducer.mix.bias[:, None]
    )
    gate = reducer.gate2(torch.nn.functional.gelu(reducer.gate1(reducer.norm_gate(x[0])))).sigmoid()
    wanted = x[0] + torch.stack([sum(gate[n, s] * mixed[s] for s in range(8)) for n in range(20)])
    torch.testing.assert_close(reducer.restore(learned, x)[0], wanted, rtol=1e-4, atol=1e-5)


def test_fast_tokens_move_as_far_as_their_sum() -> None:
    reducer, x = randomised(SlowFastTokens(dim=16, tokens=20, prefix=1, keep=0.5)), normal(2, 21, 16)
    slow, aside = reducer(x)
    restored = reducer.restore(slow + 2, aside)
    assert slow.shape == (2, 1 + 10 + 1, 16)
    torch.testing.assert_close(restored[:, 1:].sum(1), x[:, 1:].sum(1) + 20 * 2, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(restored[:, 11:], aside[:, 1:] + 2)
