"""Fusion of two branches: exact costs, class tokens alone change, both read what the other was before."""

import pytest
import torch
from torch import Tensor, nn

from search_spaces.fusions.class_attention import ClassAttentionFusion, Reading
from tests.search_spaces.counting import measured, randomised

DIMS, HEADS, TOKENS = (16, 24), (2, 3), (9, 4)


def tokens_of(batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, 1 + n, dim, generator=generator) for n, dim in zip(TOKENS, DIMS, strict=True)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_cost_is_what_is_measured_and_every_parameter_learns(depth: int, bias: bool) -> None:
    fusion = randomised(ClassAttentionFusion(DIMS, HEADS, depth=depth, qkv_bias=bias))
    said = ClassAttentionFusion.cost(dims=DIMS, heads=HEADS, tokens=TOKENS, depth=depth, qkv_bias=bias)
    assert measured(fusion, *tokens_of(batch=1)) == said
    torch.cat([out[:, 0] for out in fusion.train()(*tokens_of())], dim=1).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())


def test_reading_is_the_first_row_of_self_attention() -> None:
    reading = randomised(Reading(16, 4, qkv_bias=True))
    whole = nn.MultiheadAttention(16, 4, batch_first=True).eval()
    own = reading.state_dict()
    projections = {f"in_proj_{p}": torch.cat([own[f"attn.{n}.{p}"] for n in "qkv"]) for p in ("weight", "bias")}
    whole.load_state_dict({**projections, **{f"out_proj.{p}": own[f"attn.proj.{p}"] for p in ("weight", "bias")}})
    x = torch.randn(2, 10, 16)
    normed = reading.norm(x)
    expected = x[:, :1] + whole(normed, normed, normed, need_weights=False)[0][:, :1]
    torch.testing.assert_close(reading(x[:, :1], x[:, 1:]), expected)


def test_patches_stay_and_each_class_token_depends_on_the_others_patches_alone() -> None:
    fusion, (a, b) = randomised(ClassAttentionFusion(DIMS, HEADS)), tokens_of()
    out_a, out_b = fusion(a, b)
    assert torch.equal(out_a[:, 1:], a[:, 1:])
    assert torch.equal(out_b[:, 1:], b[:, 1:])
    moved = b.clone()
    moved[:, 0] = moved[:, 0].flip(-1)
    again_a, again_b = fusion(a, moved)
    assert torch.equal(again_a, out_a)  # the class token of b is no key of a, before the exchange or after
    assert not torch.allclose(again_b[:, 0], out_b[:, 0])


def test_fusion_is_linear_in_the_number_of_patches() -> None:
    few, more, most = (
        ClassAttentionFusion.cost(dims=DIMS, heads=HEADS, tokens=(n, n), depth=1).macs for n in (100, 200, 300)
    )
    assert most - more == more - few == 100 * sum(2 * dim**2 + 2 * dim for dim in DIMS)
