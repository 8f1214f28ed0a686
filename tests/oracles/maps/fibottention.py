"""Name maps for Fibottention: both semantics, and the support of its heads."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from search_spaces.mixers.base import Attention
from search_spaces.mixers.fibonacci import pair_map
from search_spaces.mixers.fibottention import Fibottention
from tests.oracles.adapter import Adapter, Meta, Tensors
from tests.oracles.maps.channels_and_parts import call_x


def _attention(meta: Meta) -> nn.Module:
    """The authors' class hard-codes the shuffle and, unless overridden, the standard sequences."""
    ctor, grid = meta["ctor"], tuple(meta["grid"])
    dim, heads, modified = ctor["dim"], ctor["num_heads"], ctor.get("override", {}).get("is_modified", False)
    core = Fibottention(
        dim, heads, dim // heads, grid, semantics="background", shuffle="random", layer=ctor["depth_id"],
        variant="modified" if modified else "standard",
    )  # fmt: skip
    return Attention(dim, heads, [by_diagonals(core)], [heads], qkv_bias=ctor["qkv_bias"])


def by_diagonals(core: Fibottention) -> Fibottention:
    """The recorded maps are small enough for the dense form; the sparse one has more to prove."""
    core.dense = False
    return core


def _backend(meta: Meta) -> nn.Module:
    """The authors' backend knows no grid: any map of so many tokens has the same supports."""
    _, heads, length, head_dim = meta["inputs"]["q"]
    shuffle: Literal["none", "random"] = "random" if meta["ctor"]["shuffled"] else "none"
    layer = meta["call"]["depth_id"]
    return by_diagonals(Fibottention(heads * head_dim, heads, head_dim, (1, length - 1), shuffle=shuffle, layer=layer))


def _call_backend(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    return {"": module.attend(*(inputs[name] for name in "qkv"))}  # type: ignore[operator]


def _mask(meta: Meta) -> nn.Module:
    ctor = meta["ctor"]
    return Fibottention(
        8, ctor["num_heads"], 8, (1, ctor["N"]), w_min=ctor.get("w_min", 5), layer=ctor["depth_id"],
        shuffle="random" if ctor["is_shuffled"] else "none", variant="modified" if ctor["is_modified"] else "standard",
    )  # fmt: skip


def _call_mask(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    """The support of every head as a map of ones, or its row sums; the class token sees and is seen by all."""
    mask = pair_map(module.steps, module.inside)  # type: ignore[arg-type]
    mask = F.pad(mask, (1, 0, 1, 0), value=True) if meta["ctor"]["add_class_token"] else mask
    return {"row_sums": mask.sum(2).int()} if "output.row_sums" in meta["outputs"] else {"mask": mask.to(torch.uint8)}


def _same_names(meta: Meta, params: Tensors) -> Tensors:
    return params


MAPS: dict[str, Adapter] = {
    "fibottention": Adapter(build=_attention, rename=_same_names, call=call_x),
    "fibottention_mask": Adapter(build=_mask, rename=_same_names, call=_call_mask),
    "fibottention_true_mask": Adapter(build=_backend, rename=_same_names, call=_call_backend),
}
