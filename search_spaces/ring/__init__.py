"""Exact softmax attention over several processes, each holding a part of the sequence (docs/ring.md)."""

from search_spaces.ring.attention import blockwise_attention, ring_attention
from search_spaces.ring.network import sequence_parallel
from search_spaces.ring.processes import RingBroken, shard_lengths

__all__ = ["RingBroken", "blockwise_attention", "ring_attention", "sequence_parallel", "shard_lengths"]
