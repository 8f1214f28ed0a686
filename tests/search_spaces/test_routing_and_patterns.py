"""What is special to bi-level routing and to kernel attention with patterns of relative position."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.genotype import Atom
from search_spaces.costs import Shape
from search_spaces.mixers import mixer_cost
from search_spaces.mixers.bilevel import BilevelRouting
from search_spaces.mixers.lisa_like import LisaLike
from tests.search_spaces.counting import measured, randomised

GRIDS = [(4, 4), (5, 3), (1, 6)]


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def features(seed: int, grid: tuple[int, int], rank: int = 3) -> Tensor:
    return normal(2, 2, grid[0] * grid[1], rank, seed=seed).exp()


@pytest.mark.parametrize("grid", GRIDS)
def test_transforms_equal_products(grid: tuple[int, int]) -> None:
    mixer, v = randomised(LisaLike(8, 2, grid, rank=3, patterns=2)), normal(2, 2, grid[0] * grid[1], 5)
    q, k = features(1, grid), features(2, grid)
    for dense, fourier in zip(mixer._dense_sums(q, k, v), mixer._fourier_sums(q, k, v), strict=True):
        torch.testing.assert_close(fourier, dense, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("grid", GRIDS)
def test_transforms_and_products_have_the_same_gradients(grid: tuple[int, int]) -> None:
    mixer, v = randomised(LisaLike(8, 2, grid, rank=3, patterns=2)), normal(2, 2, grid[0] * grid[1], 5)
    q, k, found = features(1, grid).requires_grad_(), features(2, grid).requires_grad_(), []
    for sums in (mixer._dense_sums, mixer._fourier_sums):
        loss = torch.stack(sums(q, k, v)).square().mean()
        found.append(torch.autograd.grad(loss, (q, k, mixer.table)))
    for dense, fourier in zip(*found, strict=True):
        assert (dense - fourier).abs().max() <= 1e-4 * dense.abs().max()


@pytest.mark.parametrize("grid", GRIDS)
def test_patterns_are_weights_by_displacement(grid: tuple[int, int]) -> None:
    mixer, v = randomised(LisaLike(8, 2, grid, rank=3, patterns=1)), normal(2, 2, grid[0] * grid[1], 5)
    q, k = features(1, grid), features(2, grid)
    (found,), columns = mixer._dense_sums(q, k, v), grid[1]
    wanted = torch.zeros_like(found)
    for i, j in product(range(v.shape[2]), repeat=2):
        dy, dx = i // columns - j // columns, i % columns - j % columns
        pattern = mixer.table[0, :, dy + grid[0] - 1, dx + columns - 1].exp()
        wanted[:, :, i] += ((q[:, :, i] * k[:, :, j]).sum(2) * pattern).unsqueeze(2) * v[:, :, j]
    torch.testing.assert_close(found, wanted)


@torch.no_grad()
def test_one_flat_pattern_is_linear_attention() -> None:
    mixer, x = randomised(LisaLike(8, 2, (4, 4), rank=3, patterns=1)), normal(2, 16, 8)
    mixer.table.zero_()
    q, k = (F.elu(t) + 1 for t in mixer.qk(x).unflatten(2, (2, 2, 3)).permute(2, 0, 3, 1, 4))
    v = mixer.v(x).unflatten(2, (2, 4)).transpose(1, 2)
    out = q @ (k.transpose(2, 3) @ v) / (q @ k.sum(dim=2, keepdim=True).transpose(2, 3))
    torch.testing.assert_close(mixer(x), mixer.proj(out.transpose(1, 2).flatten(2)), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_pattern_of_the_token_itself_returns_its_value() -> None:
    mixer, x = randomised(LisaLike(8, 2, (4, 4), rank=3, patterns=1)), normal(2, 16, 8)
    mixer.table.fill_(-60.0)
    mixer.table[:, :, 3, 3] = 0
    torch.testing.assert_close(mixer(x), mixer.proj(mixer.v(x)), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_equal_patterns_leave_queries_no_choice() -> None:
    two, one = (randomised(LisaLike(8, 2, (4, 4), rank=3, patterns=p)) for p in (2, 1))
    weights = two.state_dict()
    one.load_state_dict({key: weights[key][:1] if key == "table" else weights[key] for key in one.state_dict()})
    two.table[1] = two.table[0]
    torch.testing.assert_close(two(normal(2, 16, 8)), one(normal(2, 16, 8)), rtol=1e-4, atol=1e-5)


def test_many_tokens_are_transformed_and_train() -> None:
    mixer, x = randomised(LisaLike(8, 2, (27, 27), rank=1, patterns=2)), normal(1, 729, 8).requires_grad_()
    assert not mixer.dense
    mixer(x).square().sum().backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in [x, *mixer.parameters()])


@pytest.mark.parametrize("patterns", [1, 2])
def test_products_of_patterns_cost_what_pytorch_counts(patterns: int) -> None:
    at = Shape(dim=8, heads=2, head_dim=4, grid=(5, 3), tokens=15)
    seen = measured(LisaLike(8, 2, (5, 3), rank=3, patterns=patterns), normal(1, 15, 8))
    assert seen == mixer_cost((Atom("lisa_like", rank=3, patterns=patterns),), 1.0, at)


def test_transforms_cost_less_than_the_products_they_replace() -> None:
    at = Shape(dim=64, heads=2, head_dim=32, grid=(56, 56), tokens=56**2)
    assert LisaLike.cost(at).macs < 0.2 * 2 * 2 * 56**4 * 33


@torch.no_grad()
def test_routes_to_all_regions_are_softmax_attention() -> None:
    mixer, x = randomised(BilevelRouting(8, 2, (5, 7), divisions=3, routes=9, kernel=0)), normal(2, 35, 8)
    q, k, v = mixer.qkv(x).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4).unbind(0)
    wanted = F.scaled_dot_product_attention(q, k, v, scale=8**-0.5)
    torch.testing.assert_close(mixer(x), mixer.proj(wanted.transpose(1, 2).flatten(2)), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("grid", [(6, 6), (5, 7)])
def test_routing_equals_a_mask_over_all_pairs(grid: tuple[int, int]) -> None:
    mixer, x = randomised(BilevelRouting(8, 2, grid, divisions=3, routes=2, kernel=3)), normal(2, grid[0] * grid[1], 8)
    high, wide = (-(-side // 3) for side in grid)
    columns = -(-grid[1] // wide)
    region = torch.tensor([y // high * columns + x_ // wide for y, x_ in product(*map(range, grid))])
    q, k, v = mixer.qkv(x).split(8, dim=2)
    member = F.one_hot(region).float().T  # (G, N)
    means = [member @ t / member.sum(dim=1, keepdim=True) for t in (q, k)]
    routes = torch.zeros(2, len(member), len(member)).scatter_(2, (means[0] @ means[1].mT).topk(2, dim=2).indices, 1)
    allowed = (member.T @ routes @ member).bool().unsqueeze(1)
    heads = [t.unflatten(2, (2, 4)).transpose(1, 2) for t in (q, k, v)]
    out = F.scaled_dot_product_attention(*heads, attn_mask=allowed, scale=8**-0.5).transpose(1, 2).flatten(2)
    out = out + mixer.local(v.mT.unflatten(2, grid)).flatten(2).mT
    torch.testing.assert_close(mixer(x), mixer.proj(out), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "params", [{"divisions": 3}, {"divisions": 3, "kernel": 0}, {"divisions": 2, "routes": 3, "qk_dim": 4}]
)
def test_costs_of_routing_are_exact_with_pads(params: dict[str, int]) -> None:
    at = Shape(dim=8, heads=2, head_dim=4, grid=(5, 7), tokens=35)
    assert BilevelRouting.check(at, **params) is None
    assert measured(BilevelRouting(8, 2, (5, 7), **params), normal(1, 35, 8)) == BilevelRouting.cost(at, **params)


@pytest.mark.parametrize(("params", "part"), [({"divisions": 8}, "1x1"), ({"divisions": 2, "routes": 4}, "4 regions")])
def test_routing_names_what_does_not_fit(params: dict[str, int], part: str) -> None:
    at = Shape(dim=8, heads=2, head_dim=4, grid=(8, 8), tokens=64)
    assert part in (BilevelRouting.check(at, **params) or "")
