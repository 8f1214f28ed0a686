"""MaxViT and CoAtNet checkpoints of timm under our names: their blocks differ in kind, so each is a stage of ours."""

import re
from collections.abc import Iterator

from torch import Tensor

from search_spaces.zoo.renaming import Tensors

BLOCK = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.")
MBCONV = {
    "pre_norm.": "norm.",
    "conv1_1x1.": "widen.",
    "conv2_kxk.": "depthwise.conv.",
    "se.": "gate.",
    "se_early.": "gate.",
    "conv3_1x1.": "narrow.",
}
ATTENTION = {
    "norm1.norm.": "down.norm.",
    "shortcut.": "down.shortcut.",
    "attn.rel_pos.relative_position_bias_table": "down.core.table",
    "attn.": "down.",
}
TABLE = "rel_pos.relative_position_bias_table"


def by_stage(state: Tensors) -> Tensors:
    """Blocks as stages counted from 1, behind an empty one for the stem; inside a stage, still timm's names mostly."""
    grouped: dict[tuple[int, int], Tensors] = {}
    found: Tensors = {}
    for name, tensor in state.items():
        match = BLOCK.match(name)
        if match is None:
            found[name] = tensor
        else:
            grouped.setdefault((int(match[1]), int(match[2])), {})[name[match.end() :]] = tensor
    for stage, place in enumerate(sorted(grouped), start=1):
        found |= {f"stages.{stage}.{name}": tensor for name, tensor in _inside(grouped[place])}
    return found


def _inside(block: Tensors) -> Iterator[tuple[str, Tensor]]:
    """A MaxViT block, an MBConv, or attention with and without down-sampling."""
    for name, tensor in _with_our_heads(block).items():
        if name.startswith("attn_block."):
            yield "blocks.0." + name.removeprefix("attn_block."), tensor
        elif name.startswith("attn_grid."):
            yield "blocks.1." + name.removeprefix("attn_grid."), tensor
        elif "conv1_1x1.weight" in block or name.startswith("conv."):
            yield "down." + _replaced(name.removeprefix("conv."), MBCONV), tensor
        elif "norm1.norm.weight" in block and not name.startswith(("norm2.", "mlp.")):
            yield _replaced(name, ATTENTION), tensor
        else:
            yield "blocks.0." + name, tensor


def _replaced(name: str, starts: dict[str, str]) -> str:
    first = next((start for start in starts if name.startswith(start)), None)
    return name if first is None else starts[first] + name.removeprefix(first)


def _with_our_heads(block: Tensors) -> Tensors:
    """MaxViT's biases (h, rows, columns) go by key minus query; CoAtNet's q, k and v of each head stand together."""
    found = dict(block)
    for name in block:
        if not name.endswith(TABLE):
            continue
        table, attention = block[name], name.removesuffix(TABLE)
        if table.dim() == 3:
            found[name] = table.flatten(1).T.flip(0)
            continue
        for kind in ("weight", "bias"):
            rows = block[f"{attention}qkv.{kind}"].unflatten(0, (table.shape[1], 3, -1))
            found[f"{attention}qkv.{kind}"] = rows.transpose(0, 1).flatten(0, 2)
    return found
