"""Token merging: the most similar tokens are averaged in pairs (Bolya et al., ICLR 2023, arXiv 2210.09461)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from search_spaces import costs
from search_spaces.costs import Cost
from search_spaces.parts import REDUCERS, Reducer


@REDUCERS.register("tome")
class TokenMerging(Reducer):
    """Keeps the share `keep` of the patch tokens, but at least half, matched by the cosine of the tokens themselves.

    No parameters. Tokens come out as unmerged sources in their old order, then destinations.
    proportional: in softmax attention behind it, a merged token is as many keys as it stands for. The authors advise it
    for networks that were trained without merging, and against it while training.
    """

    search = {"keep": (0.9, 0.7, 0.5)}

    def __init__(self, dim: int, tokens: int, prefix: int, keep: float = 0.5, proportional: bool = False):
        super().__init__()
        self.proportional = proportional
        self.prefix, self.merged = prefix, tokens - self.kept(tokens, keep=keep)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        size = x.new_ones(x.shape[0], x.shape[1], 1)
        if self.merged:
            x, size, _ = bipartite_merge(x, x, size, self.merged, self.prefix)
        return (x, size) if self.proportional else x

    @classmethod
    def sizes(cls, **params: Any) -> bool:
        return params.get("proportional", False)

    @classmethod
    def kept(cls, tokens: int, **params: Any) -> int:
        return max(int(tokens * params.get("keep", 0.5)), tokens - tokens // 2)

    @classmethod
    def cost(cls, *, dim: int, tokens: int, prefix: int, **params: Any) -> Cost:
        if cls.kept(tokens, **params) == tokens:
            return Cost()
        return costs.matmul(1, tokens // 2, dim, tokens - tokens // 2)


def bipartite_merge(metric: Tensor, x: Tensor, size: Tensor, r: int, protected: int) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the r best-matched of the even tokens into odd tokens, weighted by size.

    metric (B, N, d) says which tokens are alike, by cosine and without gradient. x (B, N, C) and size (B, N, 1) are
    merged. The first `protected` tokens are neither merged nor merged into. r is cut to what can be matched.
    Returns x (B, N - r, C), size (B, N - r, 1) and the row (B, N) of the result that each token went to. Order:
    protected tokens, unmerged even tokens, odd tokens.
    """
    r = min(r, (x.shape[1] - protected) // 2)
    kept = x.shape[1] - r
    patch_rows = protected + _rows(metric[:, protected:], protected % 2, r)
    prefix_rows = torch.arange(protected, device=x.device).expand(x.shape[0], -1)
    rows = torch.cat([prefix_rows, patch_rows], dim=1)
    total = _add_up(size, rows, kept)
    return _add_up(x * size, rows, kept) / total, total, rows


@torch.no_grad()
def _rows(metric: Tensor, first: int, r: int) -> Tensor:
    """Row (B, N) of the result for each patch token; sources are the positions first, first + 2, and so on."""
    metric = F.normalize(metric, dim=2)
    sources, destinations = metric[:, first::2], metric[:, 1 - first :: 2]
    best, target = (sources @ destinations.transpose(1, 2)).max(dim=2)
    merged = torch.zeros_like(target).scatter(1, best.topk(r, dim=1).indices, 1)
    unmerged = sources.shape[1] - r
    rows = target.new_empty(metric.shape[:2])
    rows[:, first::2] = torch.where(merged == 1, unmerged + target, (1 - merged).cumsum(dim=1) - 1)
    rows[:, 1 - first :: 2] = unmerged + torch.arange(destinations.shape[1], device=metric.device)
    return rows


def _add_up(x: Tensor, rows: Tensor, kept: int) -> Tensor:
    """Sum the tokens x (B, N, C) into the rows of (B, kept, C)."""
    sums = x.new_zeros(x.shape[0], kept, x.shape[2])
    return sums.scatter_add(1, rows.unsqueeze(2).expand_as(x), x)
