"""Mixture of experts: a gate sends each token to a few of several MLPs (M³ViT: Liang et al., NeurIPS 2022,
arXiv 2210.14793; Edge-MoE: Sarkar et al., ICCAD 2023, arXiv 2305.18691; after V-MoE, arXiv 2106.05974)."""

from typing import Any

import torch
from torch import Tensor, nn

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.ffn.mlp import Mlp
from search_spaces.layer import Layer
from search_spaces.parts import FFNS, FeedForward, Grid

EXPERTS, TOP_K = 4, 1


@FFNS.register("mixture")
class MixtureOfExperts(FeedForward):
    """Σ over the top_k experts of p_e · MLP_e(x), p the softmax over all experts.

    An expert has ratio / top_k · C hidden channels, so that those which a token is sent to cost one MLP of this ratio.
    All experts compute all tokens and the gate mixes them, which keeps every shape static: `cost` counts that, which is
    experts / top_k times what routing the tokens would take.
    """

    search = {"ratio": (2, 3, 4, 6), "experts": (EXPERTS,), "top_k": (1, 2)}

    def __init__(self, dim: int, grid: Grid | None, ratio: float = 4, experts: int = EXPERTS, top_k: int = TOP_K):
        super().__init__()
        self.gate = TopGate(dim, experts, top_k)
        self.experts = nn.ModuleList(Mlp(dim, None, ratio=ratio / top_k) for _ in range(experts))

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = self.gate(x)
        shares = weights.new_zeros(*x.shape[:2], len(self.experts)).scatter(2, chosen, weights)
        mixed = torch.zeros_like(x)
        for share, expert in zip(shares.to(x.dtype).split(1, dim=2), self.experts, strict=True):
            mixed = mixed + share * expert(x)
        return mixed

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        experts, top_k = params.get("experts", EXPERTS), params.get("top_k", TOP_K)
        expert = Mlp.cost(dim=dim, tokens=tokens, prefix=prefix, ratio=params.get("ratio", 4) / top_k)
        return expert * experts + costs.linear(prefix + tokens, dim, experts, bias=False)


class TopGate(Layer):
    """(B, L, C) -> weights and indices (B, L, top_k) of the best experts.

    The softmax is over all experts and the weights are not made to sum to 1 again, as in V-MoE; with `renormalise` they
    are, which is the softmax over the chosen ones alone. While training, noise of deviation `noise` / experts on the
    logits lets other experts be tried, and `balance` times the imbalance of the batch is added to the loss.
    """

    def __init__(
        self,
        dim: int,
        experts: int,
        top_k: int,
        renormalise: bool = False,
        noise: float = 1.0,
        balance: float = 0.01,
    ):
        super().__init__()
        self.experts, self.top_k, self.renormalise = experts, top_k, renormalise
        self.noise, self.balance = noise / experts, balance if experts > 1 else 0.0
        self.proj = nn.Linear(dim, experts, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.proj(x).float()  # half precision would tie experts
        if self.training and self.noise:
            logits = logits + self.noise * torch.randn_like(logits)
        weights, chosen = logits.softmax(dim=-1).topk(self.top_k, dim=-1)
        if self.renormalise:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        if self.training and self.balance:
            weights = Charged.apply(weights, self.balance * imbalance(weights, chosen, self.experts))
        return weights, chosen


def imbalance(weights: Tensor, chosen: Tensor, experts: int) -> Tensor:
    """How unevenly the experts are used: squared variation of their weights plus that of their tokens; 0 when even.

    Only the weights have a gradient.
    """
    where = chosen.flatten()
    importance = weights.new_zeros(experts).scatter_add(0, where, weights.flatten())
    load = weights.new_zeros(experts).scatter_add(0, where, torch.ones_like(weights).flatten())
    return sum((use.var() / (use.mean().square() + 1e-10) for use in (importance, load)), start=weights.new_zeros(()))


class Charged(torch.autograd.Function):
    """Passes x on. Going back, `loss` gets the gradient 1, as if it stood in the loss, of which no training loop need
    know then. A scaled loss does not scale it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, loss: Tensor) -> Tensor:  # noqa: ARG004, as PyTorch calls it
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG004
        return grad, grad.new_ones(())
