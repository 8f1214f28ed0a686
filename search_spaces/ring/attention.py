"""Ring attention: exact softmax attention of a sequence that is spread over processes (Liu, Zaharia and Abbeel,
ICLR 2024, arXiv 2310.01889).

Queries stay, keys and values go around; each process does its queries against the keys that are with it while the next
ones are under way. The gradient goes around once more, and the gradients of keys and values travel with them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nas.errors import UserError
from search_spaces.ring.processes import Passing, Ring
from search_spaces.ring.tiles import Queries, Running, accumulator

BLOCK = 512
TOKENS, GRADIENTS = 0, 1  # tags of what is passed on


def ring_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    group: Any = None,
    *,
    block: int = BLOCK,
    scale: float | None = None,
    lengths: Sequence[int] | None = None,
) -> Tensor:
    """softmax(q kᵀ · scale) v over the keys of all processes of `group`, for the queries of this one.

    q (B, h, n, d), k (B, h, m, d) and v (B, h, m, e) are this process's parts -> (B, h, n, e). Parts may differ in
    length; m of every process goes into `lengths`, which saves asking for it. scale: 1/√d when not given. group: of
    torch.distributed, all processes when not given; without any it is blockwise attention in this process alone.
    No more than block² scores per head exist at a time; sums are in float32 at least. Gradients of q, k and v are
    those of the whole sequence for the loss summed over processes. All processes must call it, in the same order.
    Raises RingBroken when another has died or the time limit of the group is over.
    """
    if block < 1:
        raise UserError(f"block={block}: at least 1")
    ring = Ring.of(group)
    if lengths is None:
        lengths = ring.lengths(k.shape[2], k.device)
    elif len(lengths) != ring.size or lengths[ring.rank] != k.shape[2]:
        raise UserError(f"lengths={tuple(lengths)}: {k.shape[2]} keys here, as process {ring.rank} of {ring.size}")
    scale = q.shape[3] ** -0.5 if scale is None else scale
    return RingAttention.apply(q, k, v, ring, tuple(lengths), block, scale)


def blockwise_attention(q: Tensor, k: Tensor, v: Tensor, *, block: int = BLOCK, scale: float | None = None) -> Tensor:
    """softmax(q kᵀ · scale) v in this process, forward and backward in memory linear in the number of tokens."""
    if block < 1:
        raise UserError(f"block={block}: at least 1")
    scale = q.shape[3] ** -0.5 if scale is None else scale
    return RingAttention.apply(q, k, v, Ring(), (k.shape[2],), block, scale)


class RingAttention(torch.autograd.Function):
    """P - 1 hops of keys and values forward; backward as many, and P of their gradients, the last one home."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, ring: Ring, lengths: tuple[int, ...], block: int, scale: float
    ) -> Tensor:
        with torch.autocast(q.device.type, enabled=False):
            out, lse = _forward(q.flatten(0, 1), _joined(k, v), k.shape[3], ring, lengths, block, scale)
        out = out.to(q.dtype).unflatten(0, q.shape[:2])
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.settings = ring, lengths, block, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        ring, lengths, block, scale = ctx.settings
        dtype = accumulator(q.dtype)
        with torch.autocast(q.device.type, enabled=False):
            delta = (grad.to(dtype) * out.to(dtype)).sum(dim=3, keepdim=True).flatten(0, 1)
            queries = Queries(q=q.flatten(0, 1), grad=grad.flatten(0, 1), lse=lse, delta=delta, scale=scale)
            dq, dkv = _backward(queries, _joined(k, v), k.shape[3], ring, lengths, block)
        dk, dv = dkv.to(k.dtype).unflatten(0, k.shape[:2]).split((k.shape[3], v.shape[3]), dim=3)
        return dq.to(q.dtype).unflatten(0, q.shape[:2]), dk, dv, None, None, None, None


def _forward(
    q: Tensor, kv: Tensor, dim: int, ring: Ring, lengths: tuple[int, ...], block: int, scale: float
) -> tuple[Tensor, Tensor]:
    running = Running.start(q, kv.shape[2] - dim)
    for hop in range(ring.size):
        coming = _send_tokens(kv, ring, lengths, hop)
        running.absorb(q, kv[..., :dim], kv[..., dim:], scale, block)
        kv = coming.wait() if coming else kv
    return running.finish()


def _backward(
    queries: Queries, kv: Tensor, dim: int, ring: Ring, lengths: tuple[int, ...], block: int
) -> tuple[Tensor, Tensor]:
    """Gradients of the queries and, (G, m, d + e), of this process's own keys and values."""
    dq = torch.zeros_like(queries.q, dtype=queries.lse.dtype)
    travelling: Passing | None = None
    for hop in range(ring.size):
        coming = _send_tokens(kv, ring, lengths, hop)
        dkv = torch.zeros_like(kv, dtype=dq.dtype)
        queries.add_gradients(kv[..., :dim], kv[..., dim:], dq, dkv[..., :dim], dkv[..., dim:], block)
        if travelling:
            dkv += travelling.wait()
        if ring.size > 1:
            travelling = ring.pass_on(dkv, _room(dkv, lengths[ring.origin(hop + 1)]), GRADIENTS)
        kv = coming.wait() if coming else kv
    return dq, travelling.wait() if travelling else dkv


def _send_tokens(kv: Tensor, ring: Ring, lengths: tuple[int, ...], hop: int) -> Passing | None:
    """Keys and values to the next process, unless they have been everywhere."""
    if hop + 1 == ring.size:
        return None
    return ring.pass_on(kv, _room(kv, lengths[ring.origin(hop + 1)]), TOKENS)


def _room(like: Tensor, length: int) -> Tensor:
    return like.new_empty(like.shape[0], length, like.shape[2])


def _joined(k: Tensor, v: Tensor) -> Tensor:
    """(B, h, m, d) and (B, h, m, e) -> (B·h, m, d + e): one message instead of two."""
    return torch.cat([k, v], dim=3).flatten(0, 1).contiguous()
