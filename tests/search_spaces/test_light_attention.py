"""What is special to the lightweight attention of CMT: its limits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces.costs import Shape
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers import build_mixer, mixer_cost
from search_spaces.mixers.light import LightAttention
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
