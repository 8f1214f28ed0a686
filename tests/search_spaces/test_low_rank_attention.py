"""Linear, agent and latent attention against explicit maps, PyTorch's own attention and published sums."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS, mixer_cost
from search_spaces.mixers.agent import AgentAttention
from search_spaces.mixers.latent import CrossAttention, LatentAttention
from search_spaces.mixers.linear import LinearAttention
from search_spaces.mixers.local_values import LocalValues
from tests.search_spaces.counting import randomised

Grid = tuple[int, int]


def shape(grid: Grid, heads: int = 4, head_dim: int = 8, prefix: int = 0) -> Shape:
    tokens = grid[0] * grid[1]
    return Shape(dim=heads * head_dim, heads=heads, head_dim=head_dim, grid=grid, tokens=tokens, prefix=prefix)


def normal(*size: int, seed: int = 7) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def focused(core: LinearAttention, x: Tensor, power: int) -> Tensor:
    """φ of one token after the other, over the channels of all heads. x (h, L, d)."""
    out = torch.empty_like(x)
    for token in range(x.shape[1]):
        positive = (x[:, token].clamp_min(0) + 1e-6) / F.softplus(core.scale[:, 0])
        out[:, token] = positive**power * positive.norm() / (positive**power).norm()
    return out


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("power", [1, 2, 3])
def test_linear_attention_is_an_explicit_map_whose_rows_sum_to_one(power: int, prefix: int) -> None:
    core: Any = randomised(LinearAttention(12, 3, 4, (4, 5), power=power, kernel=3))
    q, k, v = normal(3, 1, 3, prefix + 20, 4)
    q[..., 0], k[..., 0] = q[..., 0].abs() + 1, k[..., 0].abs() + 1  # no token without features, where ε would rule
    pairs = focused(core, q[0], power) @ focused(core, k[0], power).transpose(1, 2)
    weights = pairs / pairs.sum(2, keepdim=True)
    out = core.attend(q, k, v)
    torch.testing.assert_close(out - core.local(v), (weights @ v[0])[None], rtol=1e-4, atol=1e-4)


def test_focusing_keeps_the_norm_and_sharpens() -> None:
    core: Any = randomised(LinearAttention(12, 3, 4, (4, 5), power=3))
    x = normal(1, 3, 20, 4)
    plain, sharp = (F.relu(x) + 1e-6) / F.softplus(core.scale), core._focus(x)
    torch.testing.assert_close(sharp.norm(dim=(1, 3)), plain.norm(dim=(1, 3)))
    assert (sharp.amax((1, 3)) >= plain.amax((1, 3))).all()


@pytest.mark.parametrize("shared", [True, False])
def test_local_values_are_a_convolution_that_prefix_tokens_pass_by(shared: bool) -> None:
    local: Any = randomised(LocalValues(2, 3, (4, 5), 3, shared=shared))
    v = normal(2, 2, 21, 3)
    out = local(v)
    assert out[:, :, 0].abs().max() == 0
    for head in range(2):
        rows = slice(0, 3) if shared else slice(3 * head, 3 * head + 3)
        maps = v[:, head, 1:].transpose(1, 2).reshape(2, 3, 4, 5)
        wanted = F.conv2d(maps, local.conv.weight[rows], local.conv.bias[rows], padding=1, groups=3)
        torch.testing.assert_close(out[:, head, 1:], wanted.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("prefix", [0, 3])
@pytest.mark.parametrize(("grid", "agents"), [((4, 6), 4), ((6, 9), 9), ((4, 4), 1)])
def test_agents_are_pooled_queries_between_two_softmax_maps(grid: Grid, agents: int, prefix: int) -> None:
    core: Any = randomised(AgentAttention(12, 3, 4, grid, agents=agents))
    side = round(agents**0.5)
    q, k, v = normal(3, 2, 3, prefix + grid[0] * grid[1], 4)
    maps = q[:, :, prefix:].unflatten(2, (side, grid[0] // side, side, grid[1] // side))
    pooled = maps.mean((3, 5)).flatten(2, 3)
    gather, hand_on = ((a @ b.transpose(2, 3) / 2).softmax(3) for a, b in ((pooled, k), (q, pooled)))
    torch.testing.assert_close((hand_on @ gather).sum(3), torch.ones(2, 3, q.shape[2]))
    torch.testing.assert_close(core.attend(q, k, v) - core.local(v), hand_on @ gather @ v, rtol=1e-4, atol=1e-5)


def test_a_huge_bias_draws_all_agents_to_one_patch() -> None:
    core: Any = AgentAttention(8, 2, 4, (3, 4), agents=4, position_bias=True)
    q, k, v = normal(3, 1, 2, 2 + 12, 4)
    with torch.no_grad():
        core.key_bias.rows[:, :, 1] = core.key_bias.columns[:, :, :, 2] = 50
    patch = 2 + 1 * 4 + 2  # behind the prefix: row 1, column 2
    torch.testing.assert_close(core.attend(q, k, v) - core.local(v), v[:, :, patch : patch + 1].expand_as(v))


@pytest.mark.parametrize("reduction", [1, 2])
def test_parameters_of_biased_agents_are_the_published_sum(reduction: int) -> None:
    at, (n, c, h) = shape((8, 8)), (9, 32, 4)
    atom = Atom("agent", agents=n, position_bias=True, reduction=reduction)
    sides = 16 + 16 // reduction
    reducing = 0 if reduction == 1 else 4 * c**2 + 3 * c
    assert mixer_cost((atom,), 1.0, at).params == 4 * c**2 + 4 * c + 10 * c + h * n * (2 * 49 + sides) + reducing


@pytest.mark.parametrize(
    ("atom", "macs_m"),
    [
        (Atom("agent", agents=9), 60.4), (Atom("agent", agents=16), 66.0), (Atom("agent", agents=49), 92.5),
        (Atom("latent", latents=8), 57.9), (Atom("latent", latents=16), 64.5), (Atom("latent", latents=32), 77.6),
        (Atom("linear"), 69.2), (Atom("linear", power=1, kernel=3), 64.2 + 9 * 3136 * 64 / 1e6),
    ],
    ids=str,
)  # fmt: skip
def test_macs_at_56_by_56_tokens_of_64_channels_are_the_published_ones(atom: Atom, macs_m: float) -> None:
    cost = mixer_cost((atom,), 1.0, shape((56, 56), heads=2, head_dim=32))
    assert cost.macs / 1e6 == pytest.approx(macs_m, abs=0.06)


def pytorch_attention(ours: CrossAttention) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(ours.q.in_features, ours.num_heads, batch_first=True)
    for kind in ("weight", "bias"):
        getattr(theirs, f"in_proj_{kind}").data = torch.cat([getattr(ours.q, kind), getattr(ours.kv, kind)]).detach()
    theirs.out_proj.load_state_dict(ours.proj.state_dict())
    return theirs


def test_latents_gather_and_scatter_as_pytorch_attends() -> None:
    mixer: Any = randomised(LatentAttention(24, 3, None, latents=5))
    x = normal(2, 17, 24)
    gather, scatter = pytorch_attention(mixer.gather), pytorch_attention(mixer.scatter)
    latents = mixer.latents.expand(2, -1, -1)
    latents = latents + gather(mixer.norm1(latents), x, x)[0]
    latents = mixer.norm2(latents)
    torch.testing.assert_close(mixer(x), scatter(x, latents, latents)[0], rtol=1e-4, atol=1e-5)


def test_one_latent_hands_the_same_to_every_token() -> None:
    mixer: Any = randomised(LatentAttention(24, 3, None, latents=1))
    x = normal(2, 17, 24)
    torch.testing.assert_close(mixer(x), mixer(x)[:, :1].expand(-1, 17, -1))


@pytest.mark.parametrize(
    ("kind", "params", "word"),
    [
        ("agent", {"agents": 8}, "square"), ("agent", {"agents": 64}, "64 tokens"), ("agent", {"agents": 0}, "square"),
        ("latent", {"latents": 64}, "64 tokens"), ("latent", {"latents": 0}, "between"),
        ("linear", {"reduction": 8}, "1x1"), ("agent", {"reduction": 5, "agents": 4}, "1x1"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(kind: str, params: dict[str, int], word: str) -> None:
    assert word in (MIXERS[kind].check(shape((8, 8)), **params) or "")
    assert MIXERS[kind].check(shape((8, 8))) is None
