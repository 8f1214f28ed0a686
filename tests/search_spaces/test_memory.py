"""What blocks of a stage leave for later ones: skipped and less attention, shared keys, a stream of latents."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluators.cost import count
from nas.genotype import Atom, Genotype, Stage
from search_spaces.costs import Shape
from search_spaces.mixers import build_mixer
from search_spaces.model import build
from search_spaces.plan import remembered
from search_spaces.rules import find_problems
from tests.search_spaces.counting import measured, randomised

SHAPE = Shape(dim=16, heads=2, head_dim=8, grid=(4, 5), tokens=20, prefix=1)
SIZES = {"image_size": (16, 20), "in_chans": 3, "classes": 7}


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def plain(a: str, b: str | None = None, **changes: Any) -> Genotype:
    stage = Stage(width=16, depth=4, head_dim=8, a=Atom.parse(a), b=None if b is None else Atom.parse(b), **changes)
    return Genotype(topology="plain", stem=Atom("patch", size=4), stages=(stage,), position=Atom("learned"))


def mixer(text: str, **place: bool) -> Any:
    return randomised(build_mixer((Atom.parse(text),), 1.0, replace(SHAPE, **place)))


CHAINS = [
    plain("softmax", "skip_attention(kernel=3)"),
    plain("channel_groups", "skip_attention(kernel=5)", mode="then", share=0.25),
    plain("softmax", "less_attention(transform=full)", mode="then", share=0.5),
    plain("softmax", "less_attention(transform=low_rank)"),
    plain("softmax", "less_attention(transform=reuse)", tail=1),
    plain("key_dictionary(keep=0.25)"),
    plain("window(divisions=2)", "key_dictionary(keep=0.5)"),
    plain("bixt(latents=8)"),
    plain("softmax", "bixt(latents=8)", mode="then", share=0.25),
    plain("messenger(divisions=2)"),
    plain("softmax", "messenger(divisions=2)", mode="then", share=0.5),
    plain("carrier(divisions=2)"),
]


@pytest.mark.parametrize("genotype", CHAINS, ids=str)
def test_a_network_with_memory_costs_what_is_counted_and_learns(genotype: Genotype) -> None:
    assert find_problems(genotype, image_size=(16, 20)) == []
    network = build(genotype, **SIZES)
    assert measured(network, normal(1, 3, 16, 20)) == count(genotype, **SIZES).total
    network.train()(normal(2, 3, 16, 20)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("genotype", CHAINS, ids=str)
def test_a_network_with_memory_can_be_exported(genotype: Genotype) -> None:
    network, images = build(genotype, **SIZES).eval(), normal(2, 3, 16, 20)
    exported = torch.export.export(network, (images,)).module()
    torch.testing.assert_close(exported(images), network(images))


@pytest.mark.parametrize(
    ("genotype", "problem"),
    [
        (plain("skip_attention"), "V16: skip_attention has no block before it to take from in stage 1"),
        (plain("window(divisions=2)", "less_attention"), "V16: less_attention has no scores before it in stage 1"),
        (plain("softmax", "bixt(latents=8)", mode="then", share=0.75), "V5: bixt hands its latents to no later block"),
        (plain("bixt(latents=8)", "bixt(latents=16)"), "V16: blocks of bixt in stage 1 pass one thing on"),
    ],
)
def test_a_block_that_recalls_needs_its_source(genotype: Genotype, problem: str) -> None:
    found = [str(p) for p in find_problems(genotype, image_size=(16, 20))]
    assert any(text.startswith(problem) for text in found), found


def test_nothing_is_remembered_across_a_reduction() -> None:
    chain = [(Atom(kind),) for kind in ("softmax", "less_attention", "less_attention", "softmax", "less_attention")]
    full = {0: (False, True), 1: (True, True), 2: (True, False), 3: (False, True), 4: (True, False)}
    assert remembered(chain) == full
    assert remembered(chain, cut=2) == {0: (False, True), 1: (True, False), 3: (False, True), 4: (True, False)}
    assert remembered([(Atom("softmax"), Atom("efficient")), (Atom("less_attention"),)]) == {}


def test_the_published_schedule_of_skipped_attention_is_a_genotype() -> None:
    stage = Stage(width=16, depth=12, b=Atom("skip_attention"), mode="then", share=0.25, tail=3)
    kinds = [block[0].kind for block in stage.mixers()]
    assert kinds == ["softmax"] * 3 + ["skip_attention"] * 6 + ["softmax"] * 3


def test_skipped_attention_without_filters_halves_and_without_a_gate_is_reuse() -> None:
    skip, before = mixer("skip_attention(kernel=3)", given=True), normal(2, 21, 16)
    x = normal(2, 21, 16, seed=2)
    gated = skip(x, {"output": before})
    skip.gate.conv.weight.data.zero_()
    halved = skip(x, {"output": before})
    skip.gate = torch.nn.Identity()
    torch.testing.assert_close(halved[:, 1:] * 2, skip(x, {"output": before})[:, 1:])
    assert torch.equal(gated[:, 0], before[:, 0])


def test_less_attention_is_the_map_between_two_matrices() -> None:
    less, scores, x = mixer("less_attention(transform=full)", given=True), normal(2, 2, 21, 21), normal(2, 21, 16)
    v = less.v(x).unflatten(2, (2, 8)).transpose(1, 2)
    maps = (less.of_queries.weight @ scores @ less.of_keys.weight.T).softmax(dim=3)
    wanted = less.proj((maps @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(less(x, {"scores": scores}), wanted, rtol=1e-4, atol=1e-5)


def test_less_attention_that_reuses_is_attention_by_the_scores_before() -> None:
    softmax = randomised(build_mixer((Atom("softmax"),), 1.0, replace(SHAPE, wanted=True)))
    less, x, memory = mixer("less_attention(transform=reuse)", given=True), normal(2, 21, 16), {}
    less.v.load_state_dict({"weight": softmax.qkv.weight[32:], "bias": softmax.qkv.bias[32:]})
    less.proj.load_state_dict(softmax.proj.state_dict())
    torch.testing.assert_close(softmax(x, memory), less(x, memory))
    torch.testing.assert_close(softmax(x, memory), softmax(x))


def test_a_whole_dictionary_is_softmax_attention_and_one_key_is_the_own_value() -> None:
    x, everything, alone = normal(2, 20, 16), mixer("key_dictionary(keep=1)"), mixer("key_dictionary(keep=0.05)")
    softmax = build_mixer((Atom("softmax"),), 1.0, SHAPE)
    softmax.load_state_dict(everything.state_dict())
    bare = replace(SHAPE, prefix=0)
    everything, alone = (randomised(build_mixer((Atom("key_dictionary", keep=keep),), 1.0, bare)) for keep in (1, 0.05))
    softmax.load_state_dict(everything.state_dict())
    torch.testing.assert_close(everything(x, {}), softmax(x))
    torch.testing.assert_close(alone(x, {}), alone.proj(alone.qkv(x)[:, :, 32:]))


def test_the_dictionary_is_the_keys_most_alike_and_all_see_the_prefix() -> None:
    lookup, x = mixer("key_dictionary(keep=0.25)", wanted=True), normal(1, 21, 16)
    allowed = lookup.look_up(x)[0, 0]
    alike = F.cosine_similarity(x[0, 1:, None], x[0, None, 1:], dim=2)
    for row, cosines in zip(allowed[1:, 1:], alike, strict=True):
        assert set(row.nonzero().flatten().tolist()) == set(cosines.argsort(descending=True)[:5].tolist())
    assert allowed[0].all()
    assert allowed[:, 0].all()


def test_both_directions_of_the_exchange_are_softmax_attention() -> None:
    bixt, x, latents = mixer("bixt(latents=8)", given=True, wanted=True), normal(2, 21, 16), normal(2, 8, 16, seed=2)
    (r, v), (r_latents, v_latents) = (
        rv.unflatten(2, (2, 2, 8)).permute(2, 0, 3, 1, 4)
        for rv in (bixt.exchange.rv_tokens(x), bixt.exchange.rv_latents(latents))
    )
    for_tokens, for_latents = bixt.exchange(x, latents)
    wanted = F.scaled_dot_product_attention(r, r_latents, v_latents).transpose(1, 2).flatten(2)
    torch.testing.assert_close(for_tokens, bixt.exchange.proj_tokens(wanted))
    wanted = F.scaled_dot_product_attention(r_latents, r, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(for_latents, bixt.exchange.proj_latents(wanted))
