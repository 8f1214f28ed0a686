"""Token sparsification by a small predictor (DynamicViT: Rao et al., NeurIPS 2021, arXiv 2106.02034)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.layer import Layer, split_prefix
from search_spaces.parts import REDUCERS, Reducer

KEEP, SMOOTHING = 0.7, 1e-6


@REDUCERS.register("dynamic")
class DynamicTokens(Reducer):
    """Keeps the share `keep` of the patch tokens that a predictor would keep most surely, best first.

    The authors draw the choice while they train, keep all tokens and mask the dropped ones (`masked_attention`), and
    take the best only afterwards. Here the best go on in training too, which saves its time; kept tokens are multiplied
    by 1 with the gradient of their probability, from which the predictor learns.
    """

    search = {"keep": (0.9, 0.7, 0.5)}

    def __init__(self, dim: int, tokens: int, prefix: int, keep: float = KEEP):
        super().__init__()
        self.tokens, self.chosen = tokens, self.kept(tokens, keep=keep)
        self.predictor = KeepPredictor(dim)

    def forward(self, x: Tensor) -> Tensor:
        prefix, patches = split_prefix(x, self.tokens)
        scores = self.predictor(patches)[:, :, 0]
        best, order = scores.topk(self.chosen, dim=1)
        sure = best.exp().unsqueeze(2)
        factor = 1 + (sure - sure.detach())
        patches = patches.gather(1, order.unsqueeze(2).expand(-1, -1, x.shape[2]))
        return torch.cat([prefix, patches * factor.to(x.dtype)], dim=1)

    @classmethod
    def kept(cls, tokens: int, **params: Any) -> int:
        return max(1, int(tokens * params.get("keep", KEEP)))

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        half, narrow, narrower = dim // 2, dim // 2, dim // 4
        entry = costs.norm(dim) + costs.linear(tokens, dim, dim)
        mean = costs.weights((dim - half) * narrow) + costs.matmul(1, 1, dim - half, narrow)
        layers = costs.linear(tokens, half, narrow) + costs.linear(tokens, narrow, narrower)
        return entry + mean + layers + costs.linear(tokens, narrower, 2)


class KeepPredictor(Layer):
    """Patch tokens (B, N, C) -> log-probabilities (B, N, 2) to be kept and to be dropped.

    Each token is judged by half of its channels and by the mean of the other half over all tokens; those with policy
    (B, N, 1) zero have been dropped before and do not count in the mean.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.local = dim // 2
        self.norm, self.entry = nn.LayerNorm(dim), nn.Linear(dim, dim)
        self.fc1, self.fc2, self.fc3 = nn.Linear(dim, dim // 2), nn.Linear(dim // 2, dim // 4), nn.Linear(dim // 4, 2)

    def forward(self, x: Tensor, policy: Tensor | None = None) -> Tensor:
        local, rest = F.gelu(self.entry(self.norm(x))).tensor_split([self.local], dim=2)
        if policy is None:
            mean = rest.mean(dim=1, keepdim=True)
        else:
            mean = (rest * policy).sum(dim=1, keepdim=True) / policy.sum(dim=1, keepdim=True)
        own, common = self.fc1.weight.tensor_split([self.local], dim=1)  # the mean is one for all tokens
        hidden = F.gelu(F.linear(local, own, self.fc1.bias) + F.linear(mean, common))
        return self.fc3(F.gelu(self.fc2(hidden))).float().log_softmax(dim=2)


def masked_attention(q: Tensor, k: Tensor, v: Tensor, policy: Tensor, scale: float | None = None) -> Tensor:
    """Softmax attention in which tokens with policy (B, L, 1) zero are seen by themselves alone: (B, h, L, d).

    The authors' training: it is differentiable in the policy, and a little smoothing leaves dropped keys a trace.
    """
    scores = (q * (q.shape[3] ** -0.5 if scale is None else scale)) @ k.transpose(2, 3)
    length = scores.shape[3]
    seen = policy.transpose(1, 2).unsqueeze(1)  # (B, 1, 1, L)
    seen = seen + (1 - seen) * torch.eye(length, dtype=seen.dtype, device=seen.device)
    weights = (scores - scores.amax(dim=3, keepdim=True)).float().exp() * seen
    weights = (weights + SMOOTHING / length) / (weights.sum(dim=3, keepdim=True) + SMOOTHING)
    return weights.to(v.dtype) @ v
