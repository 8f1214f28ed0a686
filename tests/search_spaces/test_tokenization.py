"""What is special to attentive tokens, learned tokens, deformable merging and the tokens-to-token stem."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom, Genotype, Stage
from search_spaces.downsamplers.deformable import DeformableMerging
from search_spaces.layer import to_map, to_tokens
from search_spaces.model import build
from search_spaces.reducers.evit import AttentiveTokens, keep_attentive
from search_spaces.reducers.slimming import TokenSlimming
from search_spaces.reducers.token_learner import TokenLearner
from search_spaces.stems.tokens_to_token import TokenPerformer, TokensToTokenStem, soft_split
from tests.search_spaces.counting import measured, randomised


def normal(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(1))


def test_attentive_tokens_are_as_many_as_the_authors_count() -> None:
    counts = [196]
    for _ in range(3):
        counts.append(AttentiveTokens.kept(counts[-1], keep=0.7))
    assert counts == [196, 139, 99, 71]


@pytest.mark.parametrize("heads", [1, 4])
def test_scores_are_the_class_row_of_multi_head_attention(heads: int) -> None:
    attention, x = randomised(nn.MultiheadAttention(16, heads, batch_first=True)), normal(2, 12, 16)
    reducer = AttentiveTokens(16, tokens=10, prefix=2, num_heads=heads, head_dim=16 // heads)
    reducer.q.weight.data, reducer.k.weight.data, _ = attention.in_proj_weight.data.chunk(3)
    reducer.q.bias.data = attention.in_proj_bias.data[:16]
    torch.testing.assert_close(reducer.scores(x), attention(x, x, x)[1][:, 0, 2:])


def test_best_tokens_stay_and_the_others_are_added_up() -> None:
    x, scores = normal(1, 5, 3), torch.tensor([[0.1, 0.4, 0.05, 0.3, 0.15]])
    kept = keep_attentive(x, scores, attentive=2)[0]
    wanted = [x[0, 1], x[0, 3], 0.1 * x[0, 0] + 0.05 * x[0, 2] + 0.15 * x[0, 4]]
    torch.testing.assert_close(kept, torch.stack(wanted))


def test_attentive_tokens_without_a_query_add_up_a_share_of_the_others() -> None:
    reducer, x = randomised(AttentiveTokens(16, tokens=20, prefix=1, keep=0.5)), normal(2, 21, 16)
    nn.init.zeros_(reducer.k.weight)
    kept = reducer(x)
    dropped = x.sum(dim=1) - kept[:, :-1].sum(dim=1)
    torch.testing.assert_close(kept[:, -1], dropped / 21, rtol=1e-4, atol=1e-5)


def test_keeping_all_attentive_tokens_only_reorders() -> None:
    reducer, x = randomised(AttentiveTokens(16, tokens=20, prefix=1, keep=1.0)), normal(1, 21, 16)
    assert torch.equal(reducer(x).sort(dim=1).values, x.sort(dim=1).values)
    assert measured(reducer, x) == AttentiveTokens.cost(dim=16, tokens=20, prefix=1, keep=1.0)


def test_learned_tokens_are_slimmed_tokens_without_a_scale() -> None:
    learner, slimming = TokenLearner(128, 20, 1, learned=5), TokenSlimming(128, 20, 1, keep=0.25, hidden=0.5)
    slimming.load_state_dict({**randomised(learner).state_dict(), "scale": torch.ones(1)})
    x = normal(2, 21, 128)
    torch.testing.assert_close(learner(x), slimming(x))


def test_learned_tokens_without_weights_are_the_mean() -> None:
    learner, x = randomised(TokenLearner(16, 20, 0, learned=4)), normal(2, 20, 16)
    nn.init.zeros_(learner.fc2.weight)
    torch.testing.assert_close(learner(x), x.mean(1, keepdim=True).expand(2, 4, 16), rtol=1e-4, atol=1e-5)


def merging(grid: tuple[int, int], shift: tuple[float, float]) -> DeformableMerging:
    """Every tap moved by the same offset; neither norm nor bias."""
    module = randomised(DeformableMerging(3, 4, grid))
    nn.init.zeros_(module.offset.weight)
    module.offset.bias.data = torch.tensor(shift, dtype=torch.float32).repeat(4)
    module.norm = nn.Identity()
    return module


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, -2), (3, 1)])
def test_merging_with_whole_offsets_is_a_convolution_of_the_moved_map(shift: tuple[int, int]) -> None:
    module, x = merging((6, 8), shift), normal(2, 48, 3)
    down, right = shift
    moved = F.pad(to_map(x, (6, 8)), (-right, right, -down, down))
    wanted = F.conv2d(moved, module.proj.weight, module.proj.bias, stride=2)
    torch.testing.assert_close(module(x), F.gelu(to_tokens(wanted)), rtol=1e-4, atol=1e-5)


def bilinear(x: Tensor, row: float, column: float) -> Tensor:
    """x (C, H, W) at a place between tokens; zero outside."""
    total = torch.zeros(x.shape[0])
    for r, c in product(range(x.shape[1]), range(x.shape[2])):
        total += max(0, 1 - abs(row - r)) * max(0, 1 - abs(column - c)) * x[:, r, c]
    return total


def test_merging_reads_between_tokens_as_pixel_by_pixel() -> None:
    module, x = randomised(DeformableMerging(3, 4, (3, 5))), to_map(normal(1, 15, 3), (3, 5))
    offsets = module.offsets(x) * 5
    read = module.read(x, offsets).reshape(2, 3, 3, 2, 2)  # h, w, C, k, k
    for r, c, i, j in product(range(2), range(3), range(2), range(2)):
        dy, dx = offsets[0, 2 * (2 * i + j) : 2 * (2 * i + j) + 2, r, c].tolist()
        wanted = bilinear(x[0], 2 * r + i + dy, 2 * c + j + dx)
        torch.testing.assert_close(read[r, c, :, i, j], wanted, rtol=1e-4, atol=1e-5)


def test_a_new_network_merges_without_offsets() -> None:
    first, second = Stage(width=16, depth=1, head_dim=8), Stage(width=16, depth=1, head_dim=8, down=Atom("deformable"))
    network = build(Genotype(topology="pyramid", stem=Atom("patch", size=2), stages=(first, second)), image_size=8)
    down = network.stages[1].down
    assert down.offset.weight.abs().max() == down.offset.bias.abs().max() == 0
    assert down.proj.weight.abs().min() > 0


def test_the_stem_has_the_published_size_and_products() -> None:
    """T2T-ViT_t-14 has 21 541 070 parameters; T2T-ViT-14 has 4480 more, 4096 of them frozen, and 1.305 GMAC less."""
    size = {"in_chans": 3, "dim": 384, "image_size": (224, 224), "stride": 16}
    softmax, performer = (TokensToTokenStem.cost(**size, attention=a) for a in ("softmax", "performer"))
    block = 4 * 384**2 + 384 + 2 * 768 + 6 * 384**2 + 3 * 384 + 384
    assert softmax.params + 14 * block + 384 + 197 * 384 + 768 + 385_000 == 21_541_070
    assert performer.params - softmax.params == 4480
    assert (softmax.macs - performer.macs) / 1e9 == pytest.approx(6.0887 - 4.7835, abs=2e-4)


def test_a_soft_split_and_a_projection_are_a_convolution() -> None:
    x, weight = normal(2, 3, 13, 10), normal(5, 3, 7, 7)
    split = soft_split(x, 4) @ weight.flatten(1).T
    torch.testing.assert_close(split, to_tokens(F.conv2d(x, weight, stride=4, padding=2)), rtol=1e-4, atol=1e-4)


def test_random_features_approach_softmax() -> None:
    """With many random directions φ(x) · φ(y) is exp(x · y)."""
    layer, pair = TokenPerformer(9, 16), 0.4 * normal(2, 1, 16)
    layer.directions.data = normal(20_000, 16)
    found = (layer.features(pair[:1]) * layer.features(pair[1:])).sum()
    assert found.item() == pytest.approx((pair[0] * pair[1]).sum().exp().item(), rel=0.05)
