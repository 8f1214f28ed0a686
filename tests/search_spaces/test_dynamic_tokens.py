"""What is special to tokens kept by a predictor, and to what training and evaluation have beside reduced tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluators.cost import count
from nas.genotype import Atom, Genotype, Stage
from search_spaces.mixers.softmax import SoftmaxAttention
from search_spaces.model import build
from search_spaces.reducers.dynamic import DynamicTokens, KeepPredictor, masked_attention
from search_spaces.reducers.slimming import ReverseSlimming, recalibration_loss
from tests.search_spaces.counting import measured, randomised


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def policy(*kept: int, tokens: int = 10) -> Tensor:
    return torch.zeros(1, tokens, 1).index_fill(1, torch.tensor(kept), 1.0)


def test_the_predictor_has_the_published_size_and_the_first_step_keeps_137() -> None:
    assert sum(p.numel() for p in KeepPredictor(64).parameters()) == 6930
    assert [DynamicTokens.kept(n, keep=0.7) for n in (196, 1)] == [137, 1]


def test_the_surest_tokens_come_out_as_they_are_best_first() -> None:
    reducer, x = randomised(DynamicTokens(16, tokens=20, prefix=1, keep=0.3)), normal(1, 21, 16)
    scores = reducer.predictor(x[:, 1:])[0, :, 0]
    assert torch.equal(reducer(x)[0, 1:], x[0, 1:][scores.argsort(descending=True)[:6]])


def test_the_predictor_learns_as_if_tokens_were_weighed_by_their_probability() -> None:
    reducer = randomised(DynamicTokens(16, tokens=20, prefix=0, keep=0.5))
    x, weight = normal(2, 20, 16), normal(2, 10, 16)
    ours = torch.autograd.grad((reducer(x) * weight).sum(), reducer.parameters())
    sure, order = reducer.predictor(x)[:, :, 0].exp().topk(10, dim=1)
    kept = x.gather(1, order.unsqueeze(2).expand(-1, -1, 16))
    wanted = torch.autograd.grad((sure * (kept * weight).sum(dim=2)).sum(), reducer.parameters())
    for mine, theirs in zip(ours, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_predictor_counts_only_tokens_that_are_left() -> None:
    predictor, x, left = randomised(KeepPredictor(16)), normal(1, 10, 16), [0, 3, 4, 8]
    torch.testing.assert_close(predictor(x, policy(*left))[:, left], predictor(x[:, left]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(predictor(x, policy(*range(10))), predictor(x), rtol=1e-4, atol=1e-5)


def test_masked_attention_of_all_tokens_is_softmax_attention() -> None:
    q, k, v = (normal(1, 2, 10, 8, seed=seed) for seed in range(3))
    ours = masked_attention(q, k, v, policy(*range(10)))
    torch.testing.assert_close(ours, F.scaled_dot_product_attention(q, k, v), rtol=1e-4, atol=1e-5)


def test_dropped_tokens_are_seen_by_themselves_alone() -> None:
    q, k = (normal(1, 2, 10, 8, seed=seed) for seed in range(2))
    weights = masked_attention(q, k, torch.eye(10).expand(1, 2, -1, -1), policy(0, 2, 5, 7))
    among = torch.zeros(10, 10, dtype=torch.bool).index_fill(1, torch.tensor([0, 2, 5, 7]), True) | torch.eye(10).bool()
    allowed = F.scaled_dot_product_attention(q, k, torch.eye(10).expand(1, 2, -1, -1), attn_mask=among)
    torch.testing.assert_close(weights, allowed, rtol=1e-4, atol=1e-5)
    assert weights[..., ~among].max() < 1e-5


def test_a_token_of_size_two_is_two_keys() -> None:
    q, k, v = (normal(1, 2, 10, 8, seed=seed) for seed in range(3))
    twice = [t.repeat_interleave(torch.tensor([1] * 9 + [3]), dim=2) for t in (k, v)]
    size = torch.ones(1, 10, 1).index_fill(1, torch.tensor([9]), 3.0)
    wanted = F.scaled_dot_product_attention(q, *twice)
    core = SoftmaxAttention(dim=16, num_heads=2, head_dim=8, grid=None)
    torch.testing.assert_close(core.attend_sized(q, k, v, size), wanted, rtol=1e-4, atol=1e-5)


def merging(reduction: str) -> Genotype:
    stage = Stage(width=16, depth=2, head_dim=8)
    return Genotype(topology="plain", stem=Atom("patch", size=4), stages=(stage,), reduction=Atom.parse(reduction))


def test_behind_merged_duplicates_proportional_attention_computes_what_all_tokens_do() -> None:
    """Tokens 0 and 1 are equal, and 2 and 3; merging leaves 4, 6, 1, 3, 5, 7 to the second block."""
    whole, proportional, plain = (
        randomised(build(merging(reduction), image_size=(8, 16), classes=5)).stages[0]
        for reduction in ("none", "tome(keep=0.75, proportional=true)", "tome(keep=0.75)")
    )
    x = normal(2, 8, 16)
    x[:, 1], x[:, 3] = x[:, 0], x[:, 2]
    wanted = whole(x)[:, [4, 6, 1, 3, 5, 7]]
    torch.testing.assert_close(proportional(x), wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain(x), wanted, rtol=1e-2, atol=1e-2)


def test_a_network_with_proportional_attention_costs_what_is_counted_and_can_be_exported() -> None:
    genotype, sizes = (
        merging("tome(keep=0.75, proportional=true)"),
        {"image_size": (8, 16), "in_chans": 3, "classes": 5},
    )
    network, images = build(genotype, **sizes).eval(), normal(2, 3, 8, 16)
    assert measured(network, images[:1]) == count(genotype, **sizes).total
    torch.testing.assert_close(torch.export.export(network, (images,)).module()(images), network(images))


def test_slimmed_tokens_are_recovered_by_an_mlp_over_the_tokens_and_one_over_the_channels() -> None:
    module, x = randomised(ReverseSlimming(8, 5, 12, ratio=2)), normal(1, 5, 8)
    across, along = module.mlp1, module.mlp2
    guessed = torch.stack([across.fc2(F.gelu(across.fc1(channel))) for channel in module.norm1(x)[0].T], dim=1)
    wanted = torch.stack([u + along.fc2(F.gelu(along.fc1(module.norm2(u)))) for u in guessed])
    torch.testing.assert_close(module(x)[0], wanted, rtol=1e-4, atol=1e-5)


def test_what_recovers_tokens_in_training_has_the_published_size() -> None:
    """SiT-T: width 320, 196 tokens, one for each of 14 blocks."""
    sizes = {kept: sum(p.numel() for p in ReverseSlimming(320, kept, 196).parameters()) for kept in (98, 49, 24)}
    assert round((sizes[98] + sizes[49] + 12 * sizes[24]) / 1e6, 2) == 14.02


def test_recalibration_averages_over_blocks_and_teaches_only_the_student() -> None:
    teacher = [normal(2, 12, 8, seed=seed).requires_grad_() for seed in range(3)]
    student = [teacher[0].detach(), teacher[1].detach() + 1, (teacher[2].detach() + 2).requires_grad_()]
    loss = recalibration_loss(student, teacher)
    torch.testing.assert_close(loss, torch.tensor(5 / 3))
    loss.backward()
    assert student[2].grad is not None
    assert all(t.grad is None for t in teacher)
