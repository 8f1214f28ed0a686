"""A built network over several processes that share each picture's tokens."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import UserError
from search_spaces.convolution import QuickGELU, StarReLU
from search_spaces.ffn.mlp import Mlp
from search_spaces.mixers.base import Attention
from search_spaces.mixers.softmax import SoftmaxAttention
from search_spaces.model import Block, DropPath, EncoderStage, LayerScale
from search_spaces.parts import Identity
from search_spaces.ring.attention import BLOCK, blockwise_attention, ring_attention
from search_spaces.ring.processes import Ring, shard_lengths

# Whatever computes each token by itself, softmax attention aside. A block that holds anything else is not spread.
TOKEN_WISE = {
    Attention, Block, DropPath, Identity, LayerScale, Mlp, QuickGELU, SoftmaxAttention, StarReLU,
    nn.GELU, nn.LayerNorm, nn.Linear, nn.ModuleList, nn.ReLU, nn.ReLU6, nn.SiLU,
}  # fmt: skip


def sequence_parallel(network: nn.Module, group: Any = None, *, block: int = BLOCK) -> nn.Module:
    """Let the processes of `group` share the tokens of every picture. Changes the network itself, for good.

    Every process holds the same network and is given the same pictures; each gets all logits. Where a stretch of blocks
    treats each token by itself but for softmax attention (norms, projections, MLP), a process keeps its part of the
    tokens only: activations and attention maps cost 1/P, and keys and values go around (ring attention). Softmax
    attention in any other block is computed for a process's own queries: its time is 1/P, but keys, values and the rest
    of the block are whole in every process, as are stem, positions, down-sampling, reduction and head. Weights,
    gradients and the optimizer's state are whole everywhere.

    Gradients of all parameters equal those of one process, everywhere: neither sum nor average them. Freeze parameters
    before the call, not after it. Random parts (stochastic depth) must agree: seed all processes alike. Raises
    UserError when no block has softmax attention.
    """
    ring = Ring.of(group)
    cores = list(_cores(network))
    if not cores:
        raise UserError("no block of this network has plain softmax attention, which is what processes can share")
    if any("attend" in vars(core) for core in cores):
        raise UserError("this network shares its tokens over processes already; build it again for another group")
    for core in cores:
        vars(core)["attend"] = OwnQueries(ring, block)
    for stage in (m for m in network.modules() if isinstance(m, EncoderStage)):
        for blocks in stretches(stage):
            Stretch(ring, block).spread(blocks)
    return network


def stretches(stage: EncoderStage) -> Iterator[list[nn.Module]]:
    """Blocks of a stage, one after the other, that treat each token by itself but for softmax attention."""
    if stage.remembers:
        return  # what they leave for each other is of all tokens
    cuts = [] if isinstance(stage.position_after, Identity) else [1]
    cuts += [] if isinstance(stage.reducer, Identity) else [stage.reduce_after]

    def part(numbered: tuple[int, Any]) -> tuple[int, bool]:
        return sum(numbered[0] >= cut for cut in cuts), _splits(numbered[1])

    for (_, splits), members in groupby(enumerate(stage.blocks), part):
        if splits:
            yield [block for _, block in members]


def _cores(module: nn.Module) -> Iterator[SoftmaxAttention]:
    """Those that compute what their class says: one that overrides attend() does something else."""
    return (m for m in module.modules() if type(m) is SoftmaxAttention)


def _splits(block: nn.Module) -> bool:
    return all(type(module) in TOKEN_WISE for module in block.modules())


class Stretch:
    """Blocks in a row whose tokens are spread over the processes."""

    def __init__(self, ring: Ring, block: int) -> None:
        self.ring, self.block = ring, block
        self.lengths: tuple[int, ...] = ()

    def spread(self, blocks: Sequence[nn.Module]) -> None:
        for block in blocks:
            for core in _cores(block):
                vars(core)["attend"] = self.attend
            for parameter in (p for p in block.parameters() if p.requires_grad):
                parameter.register_hook(self.ring.sum)  # each process has seen its own tokens
        blocks[0].register_forward_pre_hook(self.enter)
        blocks[-1].register_forward_hook(self.leave)

    def enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        self.lengths = shard_lengths(inputs[0].shape[1], self.ring.size)
        return TakeShard.apply(inputs[0], 1, self.ring, self.lengths), *inputs[1:]

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], x: Tensor) -> Tensor:
        return JoinShards.apply(x, 1, self.ring, self.lengths)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return ring_attention(q, k, v, self.ring.group, block=self.block, lengths=self.lengths)


class OwnQueries:
    """Softmax attention of tokens that every process has: each computes its part of the queries."""

    def __init__(self, ring: Ring, block: int) -> None:
        self.ring, self.block = ring, block

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        lengths = shard_lengths(q.shape[2], self.ring.size)
        own = TakeShard.apply(q, 2, self.ring, lengths)
        out = blockwise_attention(own, Shared.apply(k, self.ring), Shared.apply(v, self.ring), block=self.block)
        return JoinShards.apply(out, 2, self.ring, lengths)


class TakeShard(torch.autograd.Function):
    """A process's part of what all of them have. Its gradient is put together from all."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, ring: Ring, lengths: tuple[int, ...]) -> Tensor:
        ctx.settings = dim, ring, lengths
        return ring.own(x, dim, lengths).clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dim, ring, lengths = ctx.settings
        return ring.gather(grad, dim, lengths), None, None, None


class JoinShards(torch.autograd.Function):
    """All parts put together. What follows is the same in every process, so each takes its part of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, ring: Ring, lengths: tuple[int, ...]) -> Tensor:
        ctx.settings = dim, ring, lengths
        return ring.gather(x, dim, lengths)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        dim, ring, lengths = ctx.settings
        return ring.own(grad, dim, lengths), None, None, None


class Shared(torch.autograd.Function):
    """What all processes have and each uses for its own queries: the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ring: Ring) -> Tensor:
        ctx.ring = ring
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.ring.sum(grad), None
