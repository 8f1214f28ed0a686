"""Two plain branches side by side, one of small and one of large patches, that meet again and again.

These three stand in a Network where stem, stage and head of other networks do, and pass on a pair of token sequences.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.layer import Layer
from search_spaces.parts import Grid

Pair = tuple[Tensor, Tensor]


class DualStem(Layer):
    """Images -> tokens of both branches."""

    def __init__(self, a: Layer, b: Layer):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x: Tensor) -> Pair:
        return self.a(x), self.b(x)


class BranchStem(Layer):
    """Images, resized bicubically where the branch sees another size -> class token and patches, with positions."""

    def __init__(self, size: Grid | None, stem: Layer, cls_token: Layer, position: Layer):
        super().__init__()
        self.size = size
        self.stem, self.cls_token, self.position = stem, cls_token, position

    def forward(self, x: Tensor) -> Tensor:
        if self.size is not None:
            x = F.interpolate(x, self.size, mode="bicubic", align_corners=False)
        return self.position(self.cls_token(self.stem(x)))


class DualStage(Layer):
    """Blocks of each branch by itself, then the exchange."""

    def __init__(self, a: Layer, b: Layer, fusion: Layer):
        super().__init__()
        self.a, self.b = a, b
        self.fusion = fusion

    def forward(self, pair: Pair) -> Pair:
        return self.fusion(self.a(pair[0]), self.b(pair[1]))


class Branch(Layer):
    """Blocks one after the other, a position behind the first of them."""

    def __init__(self, blocks: Sequence[Layer], position_after: Layer):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.position_after = position_after

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.blocks):
            x = self.position_after(block(x)) if index == 0 else block(x)
        return x


class DualHead(Layer):
    """The mean of what both branches' classifiers say."""

    def __init__(self, a: Layer, b: Layer):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, pair: Pair) -> Tensor:
        return (self.a(pair[0]) + self.b(pair[1])) / 2
