"""Processes in a ring: who holds which tokens, what goes to the next one, and tokens of all put together."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from nas.errors import UserError


class RingBroken(RuntimeError):
    """Another process of the group has died, or did not take part within the time limit of the group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """This process among those of a group. One alone needs no group."""

    group: Any = None  # a ProcessGroup; None is that of all processes
    rank: int = 0
    size: int = 1

    @classmethod
    def of(cls, group: Any = None) -> "Ring":
        """The ring of a group, or of all processes. Raises UserError in a process outside the group."""
        if not dist.is_available() or not dist.is_initialized():
            if group is not None:
                raise UserError("a process group, but torch.distributed.init_process_group was not called")
            return cls()
        rank = dist.get_rank(group)
        if rank < 0:
            raise UserError(f"process {dist.get_rank()} is not in the group that is to share the sequence")
        return cls(group=group, rank=rank, size=dist.get_world_size(group))

    def origin(self, hop: int) -> int:
        """Whose tokens are here after so many hops."""
        return (self.rank - hop) % self.size

    def pass_on(self, sent: Tensor, received: Tensor, tag: int = 0) -> "Passing":
        """Start to send to the next process and to receive from the one before."""
        pairs = ((dist.isend, sent, self.rank + 1), (dist.irecv, received, self.rank - 1))
        with self.watched():
            ops = [
                dist.P2POp(op, tensor, group=self.group, group_peer=peer % self.size, tag=tag)
                for op, tensor, peer in pairs
                if tensor.numel()  # of an empty shard both sides know
            ]
            return Passing(self, sent, received, dist.batch_isend_irecv(ops) if ops else [])

    def gather(self, x: Tensor, dim: int, lengths: Sequence[int]) -> Tensor:
        """The shards of all processes, put together along `dim`."""
        if self.size == 1:
            return x
        padding = (0, 0) * (x.ndim - 1 - dim) + (0, max(lengths) - x.shape[dim])
        own = F.pad(x, padding).contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        with self.watched():
            dist.all_gather(parts, own, group=self.group)
        return torch.cat([p.narrow(dim, 0, n) for p, n in zip(parts, lengths, strict=True)], dim=dim)

    def sum(self, x: Tensor) -> Tensor:
        """Over all processes, in float32 at least."""
        if self.size == 1:
            return x
        total = x.to(torch.promote_types(x.dtype, torch.float32), copy=True).contiguous()
        with self.watched():
            dist.all_reduce(total, group=self.group)
        return total.to(x.dtype)

    def own(self, x: Tensor, dim: int, lengths: Sequence[int]) -> Tensor:
        """What this process holds of x, as a view."""
        return x.narrow(dim, sum(lengths[: self.rank]), lengths[self.rank])

    def lengths(self, own: int, device: torch.device) -> tuple[int, ...]:
        """How many tokens each process holds."""
        if self.size == 1:
            return (own,)
        counts = self.gather(torch.tensor([own], device=device), 0, (1,) * self.size)
        return tuple(counts.tolist())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Says which process noticed a failed transfer."""
        try:
            yield
        except RuntimeError as error:
            raise RingBroken(f"process {self.rank} of {self.size} lost the others: {error}") from error


@dataclass(frozen=True, slots=True)
class Passing:
    """A transfer under way. Keeps both tensors until it is done."""

    ring: Ring
    sent: Tensor
    received: Tensor
    works: list[Any]

    def wait(self) -> Tensor:
        """What was received. Raises RingBroken."""
        with self.ring.watched():
            for work in self.works:
                work.wait()
        return self.received


def shard_lengths(tokens: int, size: int) -> tuple[int, ...]:
    """Tokens per process, as even as can be: the first hold one more where `size` does not divide."""
    share, rest = divmod(tokens, size)
    return tuple(share + (rank < rest) for rank in range(size))
