"""What is special to neighbourhoods computed by tiles, and to diffusion over them."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.genotype import Atom
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS
from search_spaces.mixers.diffuser import Diffuser, in_window, landmark_tokens
from search_spaces.mixers.neighborhood import NeighborhoodAttention
from search_spaces.mixers.tiles import Tiles, tile_keys
from tests.search_spaces.counting import measured, randomised

GRIDS = [(4, 4), (16, 16), (13, 21), (1, 30)]  # whole; several tiles; with pads; one row
WINDOWS = [3, 5, 7]


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def shape(grid: tuple[int, int], prefix: int = 0) -> Shape:
    return Shape(dim=8, heads=2, head_dim=4, grid=grid, tokens=grid[0] * grid[1], prefix=prefix)


def qkv(grid: tuple[int, int], prefix: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (normal(2, 2, prefix + grid[0] * grid[1], 4, seed=seed) for seed in (1, 2, 3))
    return q, k, v


def connected(grid: tuple[int, int], window: int, prefix: int = 0, landmarks: int = 0) -> Tensor:
    """(L, L) by brute force: tokens at most k // 2 rows and columns apart, the prefix, the landmarks."""
    places = list(product(range(grid[0]), range(grid[1])))
    near = [[max(abs(y - v), abs(x - u)) <= window // 2 for v, u in places] for y, x in places]
    patches = torch.tensor(near)
    patches[:, landmark_tokens(grid, landmarks)] = True
    return F.pad(patches, (prefix, 0, prefix, 0), value=True)


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("grid", GRIDS)
def test_tiles_equal_a_mask_over_all_pairs(grid: tuple[int, int], window: int, prefix: int) -> None:
    q, k, v = qkv(grid, prefix)
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=connected(grid, window, prefix))
    torch.testing.assert_close(NeighborhoodAttention(8, 2, 4, grid, window).attend(q, k, v), wanted)


@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_bias_belongs_to_the_place_in_the_window(grid: tuple[int, int], prefix: int) -> None:
    core, (q, k, v) = randomised(NeighborhoodAttention(8, 2, 4, grid, 5, position_bias=True)), qkv(grid, prefix)
    places = list(product(range(grid[0]), range(grid[1])))
    bias = torch.full((2, len(places), len(places)), float("-inf"))
    for (i, (y, x)), (j, (v_, u)) in product(enumerate(places), enumerate(places)):
        if max(abs(v_ - y), abs(u - x)) <= 2:
            bias[:, i, j] = core.table[:, (v_ - y + 2) * 5 + u - x + 2]
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=F.pad(bias, (prefix, 0, prefix, 0)))
    torch.testing.assert_close(core.attend(q, k, v), wanted)


@pytest.mark.parametrize("side", range(1, 60))
def test_tiles_hold_every_token_once_with_a_halo_of_the_next_tile_alone(side: int) -> None:
    for window in (3, 7, 13, 31):
        tiles, x = Tiles((side, 2), window), normal(1, 1, 2 * side, 1)
        assert torch.equal(tiles.join(tiles.split(x)), x)
        assert max(tiles.halo) <= max(tiles.size)
        assert tiles.allowed.shape == tile_keys((side, 2), window)


def test_tiles_hold_no_map_of_all_pairs() -> None:
    tiles, queries, keys = tile_keys((56, 56), 7)
    assert tiles * queries == 56 * 56
    assert keys == (7 + 2 * 3) ** 2


def test_a_window_over_the_map_is_softmax_attention() -> None:
    assert NeighborhoodAttention.simplify(shape((4, 4)), Atom("neighborhood", window=7)) == Atom("softmax")
    assert NeighborhoodAttention.simplify(shape((5, 4)), Atom("neighborhood", window=7)).kind == "neighborhood"
    biased = Atom("neighborhood", window=7, position_bias=True)
    assert NeighborhoodAttention.simplify(shape((4, 4)), biased) == biased


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("landmarks", [0, 2])
@pytest.mark.parametrize("grid", [(4, 4), (16, 16), (13, 21)])
def test_diffusion_is_a_polynomial_of_the_softmax(grid: tuple[int, int], landmarks: int, prefix: int) -> None:
    """P = Σ_{t<K} α (1 - α)^t A^t + (1 - α)^K A^K, in double precision over all pairs."""
    q, k, v = (t.double() for t in qkv(grid, prefix))
    core = Diffuser(8, 2, 4, grid, hops=4, alpha=0.2, window=5, landmarks=landmarks)
    allowed = connected(grid, 5, prefix, landmarks)
    a = (q @ k.transpose(2, 3) / 2).masked_fill(~allowed, float("-inf")).softmax(dim=-1)
    powers = [torch.linalg.matrix_power(a, t) for t in range(5)]
    wanted = sum(0.2 * 0.8**t * powers[t] @ v for t in range(4)) + 0.8**4 * powers[4] @ v
    torch.testing.assert_close(core.attend(q, k, v), wanted)


def test_one_hop_without_restoring_is_neighborhood_attention() -> None:
    q, k, v = qkv((16, 16), 1)
    diffused = Diffuser(8, 2, 4, (16, 16), hops=1, alpha=0.0, window=3).attend(q, k, v)
    torch.testing.assert_close(diffused, NeighborhoodAttention(8, 2, 4, (16, 16), 3).attend(q, k, v))


@pytest.mark.parametrize("grid", [(9, 12), (16, 16)])
@pytest.mark.parametrize(("hops", "landmarks"), product((1, 2, 3, 5, 7, 8), (0, 1, 3)))
def test_sees_all_only_where_every_token_moves_every_other(grid: tuple[int, int], hops: int, landmarks: int) -> None:
    steps = connected(grid, 5, 0, landmarks).float()
    reached = bool((torch.linalg.matrix_power(steps, hops) > 0).all())
    claimed = Diffuser.sees_all(shape(grid), hops=hops, landmarks=landmarks, window=5)
    assert reached or not claimed
    assert reached == claimed or landmarks


def test_a_prefix_token_hands_on_in_two_hops() -> None:
    assert Diffuser.sees_all(shape((56, 56), prefix=1), hops=2)
    assert not Diffuser.sees_all(shape((56, 56), prefix=1), hops=1)


def test_landmarks_lie_in_the_middle_of_cells() -> None:
    assert landmark_tokens((4, 8), 2).tolist() == [10, 14, 26, 30]
    assert in_window((4, 8), torch.tensor([10]), 1).nonzero()[:, 0].tolist() == [1, 2, 3, 9, 10, 11, 17, 18, 19]


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    ("kind", "params"),
    [("neighborhood", {"window": 5, "position_bias": True}), ("diffuser", {"hops": 2, "window": 3, "landmarks": 1})],
)
def test_costs_are_exact_with_tiles_pads_and_prefix(
    kind: str, params: dict[str, int], grid: tuple[int, int], prefix: int
) -> None:
    core, at = MIXERS[kind](dim=8, num_heads=2, head_dim=4, grid=grid, **params), shape(grid, prefix)
    core.forward = core.attend
    inputs = (t[:1] for t in qkv(grid, prefix))
    assert measured(core, *inputs) == MIXERS[kind].cost(at, **params)


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("kind", ["neighborhood", "diffuser"])
def test_windows_are_odd(kind: str, window: int) -> None:
    assert "odd" in (MIXERS[kind].check(shape((8, 8)), window=window) or "")


@pytest.mark.parametrize("params", [{"hops": 0}, {"alpha": 1.0}, {"landmarks": 9}])
def test_a_diffuser_names_what_cannot_be(params: dict[str, float]) -> None:
    assert next(iter(params)) in (Diffuser.check(shape((8, 8)), **params) or "")
