"""Bridges: stages are packed without loss, only what the head reads is computed, costs are exact."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from search_spaces.bridges.context import ContextBridge, ContextLayer, pack, unpack
from search_spaces.mixers.base import Attention
from search_spaces.mixers.spatial_reduction import SpatialReductionAttention
from search_spaces.parts import Grid
from tests.search_spaces.counting import measured, randomised

PYRAMIDS: list[tuple[Sequence[int], Sequence[Grid]]] = [
    ((8, 16, 40), ((8, 8), (4, 4), (2, 2))),
    ((8, 8), ((7, 5), (4, 3))),
    ((4, 12, 4, 16), ((9, 17), (5, 9), (3, 5), (2, 3))),
]


def maps_of(dims: Sequence[int], grids: Sequence[Grid], batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, h * w, dim, generator=generator) for dim, (h, w) in zip(dims, grids, strict=True)]


@pytest.mark.parametrize(("dims", "grids"), PYRAMIDS)
def test_unpacking_undoes_packing(dims: Sequence[int], grids: Sequence[Grid]) -> None:
    maps = maps_of(dims, grids)
    packed = pack(maps, dims[0])
    tokens = [m.shape[1] * m.shape[2] // dims[0] for m in maps]
    assert packed.shape == (2, sum(tokens), dims[0])
    assert all(torch.equal(a, b) for a, b in zip(unpack(packed, tokens, dims[0], dims), maps, strict=True))


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("dims", "grids"), PYRAMIDS)
def test_cost_is_what_is_measured_and_every_parameter_learns(
    dims: Sequence[int], grids: Sequence[Grid], depth: int
) -> None:
    bridge = randomised(ContextBridge(dims, grids, depth=depth, ratio=2, heads=2))
    found = measured(bridge, maps_of(dims, grids, batch=1))
    assert found == ContextBridge.cost(dims=dims, grids=grids, depth=depth, ratio=2, heads=2)
    bridge.train()(maps_of(dims, grids)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in bridge.parameters())


def test_the_last_layer_gives_what_a_whole_layer_gives_for_the_last_stage() -> None:
    dims, grids = PYRAMIDS[0]
    whole = randomised(ContextLayer(dims[0], dims, grids, (4, 2, 1), ratio=2))
    last = ContextLayer(dims[0], dims, grids, (4, 2, 1), ratio=2, last_only=True).eval()
    own = whole.state_dict()
    kept = {n.replace("ffns.2.", "ffns.0."): t for n, t in own.items() if not n.startswith(("ffns.0.", "ffns.1."))}
    last.load_state_dict(kept)
    x = pack(maps_of(dims, grids), dims[0])
    torch.testing.assert_close(last(x), whole(x)[:, -20:])


def test_a_bridge_without_layers_hands_on_the_last_stage() -> None:
    dims, grids = PYRAMIDS[2]
    maps = maps_of(dims, grids)
    assert torch.equal(ContextBridge(dims, grids, depth=0)(maps), maps[-1])
    assert ContextBridge.cost(dims=dims, grids=grids, depth=0).params == 0


def test_the_bridge_of_one_stage_is_spatial_reduction_attention() -> None:
    """With the coarse map's norm at the width of the stage both are one."""
    layer = randomised(ContextLayer(16, [16], [(8, 8)], [2], heads=2))
    core = SpatialReductionAttention(16, 2, 8, (8, 8), reduction=2)
    mixer = Attention(16, 2, [core], [2])
    own = layer.state_dict()
    mixer.load_state_dict({
        **{f"qkv.{p}": torch.cat([own[f"q.{p}"], own[f"kv.{p}"]]) for p in ("weight", "bias")},
        **{f"proj.{p}": own[f"proj.{p}"] for p in ("weight", "bias")},
        **{f"cores.0.coarse.conv.{p}": own[f"coarse.0.conv.{p}"] for p in ("weight", "bias")},
        **{f"cores.0.coarse.norm.{p}": own[f"norm_keys.{p}"] for p in ("weight", "bias")},
    })  # fmt: skip
    x = torch.randn(2, 64, 16)
    y = x + mixer(layer.norm1(x))
    torch.testing.assert_close(layer(x), y + layer.ffns[0](layer.norm2(y)))


def test_one_layer_costs_what_the_literature_says() -> None:
    """Of MISSFormer at 224 px: attention of 0.712 GMACs; 16.41 M parameters in four layers, of which 65,536 idle."""
    dims, grids = (64, 128, 320, 512), ((56, 56), (28, 28), (14, 14), (7, 7))
    whole = ContextLayer.cost(64, dims, grids, (8, 4, 2, 1))
    n, m = 6076, 784
    reduced = sum(h * w * dim**2 for dim, (h, w) in zip(dims[:3], grids[:3], strict=True))
    attend = 2 * n * 64**2 + 2 * m * 64**2 + reduced + 2 * n * m * 64
    feed = sum(h * w * (8 * dim**2 + 36 * dim) for dim, (h, w) in zip(dims, grids, strict=True))
    assert whole.macs == attend + feed
    assert attend / 1e9 == pytest.approx(0.712, abs=5e-4)
    assert (4 * whole.params + 65_536) / 1e6 == pytest.approx(16.41, abs=5e-3)


def test_widths_and_heads_that_do_not_divide_are_named() -> None:
    grids = [(8, 8), (4, 4)]
    assert ContextBridge.check(dims=[16, 32], grids=grids) is None
    wide, many = ContextBridge.check(dims=[16, 40], grids=grids), ContextBridge.check(dims=[16], grids=grids, heads=3)
    assert wide == "the 16 channels of stage 1 do not divide the 40 of a later stage"
    assert many == "3 heads do not divide the 16 channels of stage 1"


def test_shape_of_keys_follows_the_last_map() -> None:
    dims, grids = PYRAMIDS[2]
    layer = ContextBridge(dims, grids).layers[0]
    keys = layer._keys(pack(maps_of(dims, grids), dims[0]))
    assert keys.shape == (2, 6 * sum(dims) // dims[0], dims[0])
