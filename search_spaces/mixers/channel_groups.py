"""Channel-group attention: channels of one group attend to each other (Ding et al., ECCV 2022, arXiv 2204.03645)."""

from typing import Any

from torch import Tensor

from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Core, Grid
from search_spaces.taxonomy import About


@MIXERS.register("channel_groups")
class ChannelGroups(Core):
    """softmax(s kᵀ v) over the channels of v, applied to q; a head is a group.

    The roles of q, k and v are those of DaViT's published weights. scale "tokens" takes s = N^-½, which keeps the
    logits of one size at every resolution because the product sums over tokens; "channels" is the published d^-½.
    """

    about = About(
        taxonomy="channel and spatial",
        group="channel groups",
        paper="Ding et al., ECCV 2022",
        arxiv="2204.03645",
        complexity="4NC² + 2NC²/h",
    )
    is_set = True
    takes_prefix = True

    def __init__(self, dim: int, num_heads: int, head_dim: int, grid: Grid | None, scale: str = "tokens"):
        super().__init__()
        if scale not in ("tokens", "channels"):
            raise ValueError(f"channel_groups: scale is {scale!r}; it can be tokens or channels")
        self.by_tokens = scale == "tokens"

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        summed = k.shape[2] if self.by_tokens else k.shape[3]
        logits = (k * summed**-0.5).transpose(2, 3) @ v  # (B, h, d, d)
        weights = logits.float().softmax(dim=3).to(q.dtype)
        return q @ weights.transpose(2, 3)

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        logits = costs.matmul(shape.heads, shape.head_dim, shape.length, shape.head_dim)
        read = costs.matmul(shape.heads, shape.length, shape.head_dim, shape.head_dim)
        return logits + read
