"""What is special to the lightweight attention of CMT: its limits, and one table of positions for a stage."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluators.cost import count
from nas.genotype import Atom, Genotype, Stage
from search_spaces.costs import Shape
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers import build_mixer, mixer_cost
from search_spaces.mixers.light import LightAttention
from search_spaces.model import build
from tests.search_spaces.counting import measured, randomised

SHAPE = Shape(dim=16, heads=2, head_dim=8, grid=(6, 5), tokens=30)
KINDS = ("weight", "bias")


def normal(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(1))


def test_without_reduction_it_is_softmax_attention() -> None:
    light, x = randomised(LightAttention(16, 2, (6, 5), reduction=1)), normal(2, 30, 16)
    softmax = build_mixer((Atom("softmax"),), 0.5, SHAPE)
    weights = {f"qkv.{kind}": torch.cat([getattr(p, kind) for p in (light.q, light.k, light.v)]) for kind in KINDS}
    softmax.load_state_dict(weights | {f"proj.{kind}": getattr(light.proj, kind) for kind in KINDS})
    torch.testing.assert_close(light(x), softmax(x))
    assert LightAttention.simplify(SHAPE, Atom("light", reduction=1)) == Atom("softmax")


def test_keys_come_from_the_padded_map_that_a_mean_thins_out() -> None:
    light, x = randomised(LightAttention(16, 2, (6, 5), reduction=2)), normal(1, 30, 16)
    light.reduce.weight.data.fill_(0.25)
    light.reduce.bias.data.zero_()
    light.norm = nn.Identity()
    coarse = to_tokens(F.avg_pool2d(F.pad(to_map(x, (6, 5)), (0, 1)), 2))
    q, k, v = (t.unflatten(2, (2, 8)).transpose(1, 2) for t in (light.q(x), light.k(coarse), light.v(coarse)))
    read = (q @ k.mT / 8**0.5).softmax(dim=3) @ v
    torch.testing.assert_close(light(x), light.proj(read.transpose(1, 2).flatten(2)), rtol=1e-4, atol=1e-5)


def test_a_table_of_positions_can_single_out_one_key() -> None:
    light, x = randomised(LightAttention(16, 2, (6, 5), reduction=1, position_bias=True)), normal(2, 30, 16)
    light.position_bias.data.fill_(-1e4)
    light.position_bias.data[:, :, 7] = 0
    torch.testing.assert_close(light(x), light.proj(light.v(x[:, 7:8])).expand(-1, 30, -1), rtol=1e-4, atol=1e-5)
    assert measured(light, x[:1]) == mixer_cost((Atom("light", reduction=1, position_bias=True),), 0.5, SHAPE)


CMT = Stage(width=16, depth=3, head_dim=8, a=Atom("light", reduction=2, position_bias=True, shared=True))


def stage_of(stage: Stage) -> Any:
    genotype = Genotype(topology="plain", stem=Atom("patch", size=4), stages=(stage,))
    return randomised(build(genotype, image_size=24, classes=5).stages[0])


def test_blocks_of_a_stage_share_one_table_of_positions() -> None:
    shared, own = stage_of(CMT), stage_of(replace(CMT, a=Atom("light", reduction=2, position_bias=True)))
    state = shared.state_dict()
    tables = {f"blocks.{i}.mixer.position_bias": state["blocks.0.mixer.position_bias"] for i in range(3)}
    own.load_state_dict(state | tables)
    torch.testing.assert_close(shared(normal(2, 36, 16)), own(normal(2, 36, 16)))


def test_a_shared_table_is_counted_once_and_learns_from_every_block() -> None:
    genotype = Genotype(topology="plain", stem=Atom("patch", size=4), stages=(CMT,))
    network = build(genotype, image_size=24, classes=5)
    assert count(genotype, image_size=24, classes=5).total.params == sum(p.numel() for p in network.parameters())
    made = stage_of(CMT)
    table = made.blocks[0].mixer.position_bias
    (whole,) = torch.autograd.grad(made(normal(1, 36, 16)).sum(), table)
    made.blocks[2].mixer.recalls_bias = False  # without the last block's say
    (less,) = torch.autograd.grad(made(normal(1, 36, 16)).sum(), table)
    assert not torch.allclose(whole, less)


def test_limits_keep_the_biases_of_the_projections() -> None:
    atom = Atom("light", reduction=1, qk_ratio=1, qkv_bias=False, proj_bias=False)
    assert LightAttention.simplify(SHAPE, atom) == Atom("softmax", qkv_bias=False, proj_bias=False)
