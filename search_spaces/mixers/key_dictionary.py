"""Attention to the keys that a stage has found most alike at its start (SemanIR: Ren et al., NeurIPS 2024,
arXiv 2405.20008)."""

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces import costs
from search_spaces.costs import Cost, Shape
from search_spaces.mixers.base import MIXERS, Grid, Memory, Mixer, mixer_cost
from search_spaces.mixers.softmax import LONGEST
from search_spaces.taxonomy import About

KEEP = 0.5


@MIXERS.register("key_dictionary")
class KeyDictionary(Mixer):
    """Softmax attention of each token to itself and those most alike; all blocks of a stage look at the same ones.

    The first block of its kind finds, by the cosine of normed tokens and without a gradient, the share `keep` of the
    tokens for each, which the later ones take over. Prefix tokens see and are seen by all. A mask carries the choice:
    it shapes what is learned and saves no products.
    """

    about = About(
        taxonomy="complexity reduction",
        group="shared keys",
        paper="Ren et al., NeurIPS 2024",
        arxiv="2405.20008",
        complexity="4NC² + 2N²C, and N²C once a stage",
    )
    search = {"keep": (0.25, 0.5)}
    recalls = leaves = "keys"
    one_stream = True
    is_set = True
    takes_prefix = True
    rule = "V6"

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: Grid | None,
        tokens: int,
        prefix: int = 0,
        given: bool = False,
        wanted: bool = False,
        keep: float = KEEP,
    ):
        super().__init__()
        self.num_heads, self.given, self.wanted, self.prefix = num_heads, given, wanted, prefix
        self.kept = math.ceil(keep * tokens)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        allowed = memory["keys"] if self.given else self.look_up(x)
        if self.wanted:
            memory["keys"] = allowed
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.proj(out.transpose(1, 2).flatten(2))

    def look_up(self, x: Tensor) -> Tensor:
        """(B, P + N, C) -> (B, 1, P + N, P + N): which keys each query may see."""
        patches = F.normalize(x.detach()[:, self.prefix :].float(), dim=2)
        with torch.autocast(x.device.type, enabled=False):  # a rounded cosine would choose others
            alike = patches @ patches.transpose(1, 2)
        chosen = torch.zeros_like(alike, dtype=torch.bool).scatter(2, alike.topk(self.kept, dim=2).indices, True)
        return F.pad(chosen, (self.prefix, 0, self.prefix, 0), value=True).unsqueeze(1)

    @classmethod
    def check(cls, shape: Shape, **params: Any) -> str | None:
        if shape.tokens > LONGEST:
            return f"key_dictionary compares {shape.tokens} tokens with each other; at most {LONGEST}"
        return None

    @classmethod
    def cost(cls, shape: Shape, **params: Any) -> Cost:
        total = mixer_cost((Atom("softmax"),), 1.0, replace(shape, wanted=False))
        return total if shape.given else total + costs.matmul(1, shape.tokens, shape.dim, shape.tokens)
