"""Attention along a few diagonals of the map of all pairs, without ever making the map.

Tensors hold channels in front of tokens, (B, h, d, N), so that a diagonal is two slices side by side and every product
runs along memory. Scores and weights are (B, h, S, N): S slots a token, one for each step of its head. Time and memory
are linear in N·S. The gradients are the same products with the roles exchanged; autograd through the slices would write
a map of zeros for each of them. Everything is written once and whole, which compilers and exporters like.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Steps = Sequence[Sequence[int]]  # of each head: token p meets token p + step


def diagonal_scores(q: Tensor, k: Tensor, steps: Steps) -> Tensor:
    """q, k (B, h, d, N) -> (B, h, S, N): q · k at each slot, zero where a slot leads nowhere."""
    return DiagonalScores.apply(q, k, steps)


def diagonal_values(weights: Tensor, v: Tensor, steps: Steps) -> Tensor:
    """Weights (B, h, S, N), v (B, h, d, N) -> (B, h, d, N): the values at each token's slots, weighted and summed."""
    return DiagonalValues.apply(weights, v, steps)


class DiagonalScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, steps: Steps) -> Tensor:
        q, near_k = q.contiguous(), padded(k, steps)
        ctx.save_for_backward(q, near_k)
        ctx.steps = steps
        return dots(q, near_k, steps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        q, near_k = ctx.saved_tensors
        return gathered(grad, near_k, ctx.steps), sent_back(grad, q, ctx.steps), None


class DiagonalValues(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, v: Tensor, steps: Steps) -> Tensor:
        near_v = padded(v, steps)
        ctx.save_for_backward(weights, near_v)
        ctx.steps = steps
        return gathered(weights, near_v, steps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, near_v = ctx.saved_tensors
        grad = grad.contiguous()
        return dots(grad, near_v, ctx.steps), sent_back(weights, grad, ctx.steps), None


def dots(a: Tensor, near: Tensor, steps: Steps) -> Tensor:
    """a[p] · near[p + step] at each slot."""
    tokens, slots, rows = a.shape[3], count_slots(steps), []
    nothing = a.new_zeros(a.shape[0], tokens)
    for own, a_h, near_h in zip(steps, a.unbind(1), near.unbind(1), strict=True):
        rows += [(a_h * shifted(near_h, step, tokens)).sum(dim=1) for step in own]
        rows += [nothing] * (slots - len(own))
    return torch.stack(rows, dim=1).unflatten(1, (len(steps), slots))


def gathered(weights: Tensor, near: Tensor, steps: Steps) -> Tensor:
    """At p, the sum of weight[p] near[p + step] over the slots."""
    tokens, outs = weights.shape[3], []
    for own, weights_h, near_h in zip(steps, weights.unbind(1), near.unbind(1), strict=True):
        out = torch.zeros_like(shifted(near_h, 0, tokens), memory_format=torch.contiguous_format)
        for slot, step in enumerate(own):
            out.addcmul_(weights_h.narrow(1, slot, 1), shifted(near_h, step, tokens))
        outs.append(out)
    return torch.stack(outs, dim=1)


def sent_back(weights: Tensor, b: Tensor, steps: Steps) -> Tensor:
    """At p + step, the sum of weight[p] b[p] over the slots."""
    tokens, near_weights, near, outs = b.shape[3], padded(weights, steps), padded(b, steps), []
    for own, weights_h, near_h in zip(steps, near_weights.unbind(1), near.unbind(1), strict=True):
        out = torch.zeros_like(shifted(near_h, 0, tokens), memory_format=torch.contiguous_format)
        for slot, step in enumerate(own):
            out.addcmul_(shifted(weights_h.narrow(1, slot, 1), -step, tokens), shifted(near_h, -step, tokens))
        outs.append(out)
    return torch.stack(outs, dim=1)


def padded(x: Tensor, steps: Steps) -> Tensor:
    """Zeros on both sides of the tokens, as many as the longest step."""
    most = max([0, *(abs(step) for own in steps for step in own)])
    return F.pad(x, (most, most))


def shifted(near: Tensor, step: int, tokens: int) -> Tensor:
    """Padded (B, d, N + 2w) -> the view (B, d, N) of the tokens `step` further on."""
    return near.narrow(2, (near.shape[2] - tokens) // 2 + step, tokens)


def count_slots(steps: Steps) -> int:
    """S: of the head with the most steps."""
    return max([1, *(len(own) for own in steps)])
