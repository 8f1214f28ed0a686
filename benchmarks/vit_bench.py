"""The spaces of ViT-Bench-101 (Wei et al., Auto-Prox, AAAI 2024, arXiv 2312.09059), rebuilt from their descriptions.

AutoFormer-Ti: patches of 16, a class token, learned positions; each block has its own number of heads, which divide the
width, and its own MLP ratio; the mean of the patch tokens is classified. PiT (Heo et al., ICCV 2021, arXiv 2103.16302):
patches of 16 at stride 8, three stages of heads x base_dim channels, between them a depth-wise convolution of stride 2
for the patches and a linear layer for the class token. Neither is a genotype: a stage there has one MLP ratio and one
number of heads, and a class token enters with the last stage.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from evaluators.zero_cost.base import Subject
from search_spaces.ffn.mlp import Mlp
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers.base import Attention
from search_spaces.mixers.softmax import SoftmaxAttention
from search_spaces.model import Block

FILES = {"AutoFormer-Ti": "vit_bench_101_autoformer.json", "PiT": "vit_bench_101_pit.json"}
TARGETS = ("c100_base_acc", "c100_kd_acc", "flower_base_acc", "flower_kd_acc", "chaoyang_base_acc", "chaoyang_kd_acc")
IMAGE_SIZE = 224


class AutoFormer(nn.Module):
    """(B, 3, 224, 224) -> (B, classes)."""

    def __init__(
        self, hidden_dim: int, depth: int, num_heads: Sequence[int], mlp_ratio: Sequence[float], classes: int
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, hidden_dim, 16, stride=16)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden_dim))
        self.position = nn.Parameter(torch.zeros(1, 1 + (IMAGE_SIZE // 16) ** 2, hidden_dim))
        self.blocks = nn.Sequential(*(block(hidden_dim, num_heads[i], mlp_ratio[i]) for i in range(depth)))
        self.norm = nn.LayerNorm(hidden_dim, eps=1e-6)
        self.head = nn.Linear(hidden_dim, classes)
        self.init_weights()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)[:, 1:].mean(dim=1))

    def features(self, x: Tensor) -> Tensor:
        x = to_tokens(self.stem(x))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.position
        return self.norm(self.blocks(x))

    def init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.position, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)


class PiT(nn.Module):
    """(B, 3, 224, 224) -> (B, classes). Linear layers and convolutions start as PyTorch starts them."""

    def __init__(
        self, base_dim: int, depth: Sequence[int], num_heads: Sequence[int], mlp_ratio: float, classes: int
    ) -> None:
        super().__init__()
        dims, side = [base_dim * heads for heads in num_heads], (IMAGE_SIZE - 16) // 8 + 1
        self.stem = nn.Conv2d(3, dims[0], 16, stride=8)
        self.position = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, dims[0], side, side), std=0.02))
        self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, dims[0]), std=0.02))
        self.stages = nn.ModuleList(
            nn.Sequential(*(block(dim, heads, mlp_ratio) for _ in range(count)))
            for dim, heads, count in zip(dims, num_heads, depth, strict=True)
        )
        self.pools = nn.ModuleList(Pool(a, b) for a, b in pairwise(dims))
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)[:, 0])

    def features(self, x: Tensor) -> Tensor:
        x = self.stem(x) + self.position
        grid = (x.shape[2], x.shape[3])
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), to_tokens(x)], dim=1)
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index < len(self.pools):
                x, grid = self.pools[index](x, grid)
        return self.norm(x)


class Pool(nn.Module):
    """(B, 1 + N, C) -> (B, 1 + N/4, C'), and the new grid."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, out_dim, 3, stride=2, padding=1, groups=dim)
        self.fc = nn.Linear(dim, out_dim)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        pooled = self.conv(to_map(x[:, 1:], grid))
        return torch.cat([self.fc(x[:, :1]), to_tokens(pooled)], dim=1), (pooled.shape[2], pooled.shape[3])


def block(dim: int, heads: int, ratio: float) -> Block:
    """Pre-norm attention and MLP."""
    core = SoftmaxAttention(dim=dim, num_heads=heads, head_dim=dim // heads, grid=None)
    return Block(
        before=None, norm1=nn.LayerNorm(dim, eps=1e-6), mixer=Attention(dim, heads, [core], [heads]),
        norm3=None, between=None, before_ffn=None, norm2=nn.LayerNorm(dim, eps=1e-6),
        ffn=Mlp(dim=dim, grid=None, ratio=ratio), dim=dim, layer_scale=None, drop_path=0.0,
    )  # fmt: skip


def network(arch: dict[str, Any], classes: int) -> nn.Module:
    """Of one row of a table."""
    return (AutoFormer if "hidden_dim" in arch else PiT)(**arch, classes=classes)


def subject(arch: dict[str, Any], classes: int) -> Subject:
    """With parameters and MACs counted on a network without storage."""
    with torch.device("meta"):
        empty, image = network(arch, classes), torch.empty(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        empty(image)
    return Subject(
        make=lambda seed: seeded(arch, classes, seed),
        params_m=sum(p.numel() for p in empty.parameters()) / 1e6,
        macs_g=flops.get_total_flops() / 2e9,
        depth=sum(isinstance(module, Block) for module in empty.modules()),
    )


def seeded(arch: dict[str, Any], classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(arch, classes)


def rows(tables: Path, space: str) -> list[dict[str, Any]]:
    """One table: rows with "arch" and accuracies in percent."""
    return json.loads((tables / FILES[space]).read_text())
