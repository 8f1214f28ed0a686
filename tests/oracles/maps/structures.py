"""Name maps for the authors' modules of networks with branches and bridges."""

import re
from typing import Any

from torch import Tensor, nn

from search_spaces.bridges.context import ContextLayer
from search_spaces.dual import Branch, DualStage
from search_spaces.ffn.mlp import Mlp
from search_spaces.fusions.class_attention import ClassAttentionFusion
from search_spaces.heads.class_attention import ClassAttention
from search_spaces.mixers.base import Attention
from search_spaces.mixers.softmax import SoftmaxAttention
from search_spaces.model import Block
from search_spaces.parts import Identity
from search_spaces.zoo.crossvit_names import INSIDE_STAGES, without_idle
from search_spaces.zoo.renaming import renamed
from tests.oracles.adapter import Adapter, Meta, Tensors

SIDES, MULTIPLES = (56, 28, 14, 7), (1, 2, 5, 8)  # of MISSFormer at 224 px


def cross_attention(meta: Meta) -> ClassAttention:
    ctor = meta["ctor"]
    module = ClassAttention(ctor["dim"], ctor["num_heads"], qkv_bias=ctor.get("qkv_bias", False))
    module.scale = ctor.get("qk_scale", module.scale)
    return module


def multi_scale(meta: Meta) -> DualStage:
    ctor = meta["ctor"]
    branches = [Branch([block(ctor, i) for _ in range(ctor["depth"][i])], Identity()) for i in range(2)]
    depth = max(1, ctor["depth"][2])
    return DualStage(*branches, ClassAttentionFusion(ctor["dim"], ctor["num_heads"], depth, ctor["qkv_bias"]))


def block(ctor: dict[str, Any], branch: int) -> Block:
    dim, heads = ctor["dim"][branch], ctor["num_heads"][branch]
    core = SoftmaxAttention(dim, heads, dim // heads, None)
    norm1, norm2 = (nn.LayerNorm(dim, eps=1e-6) for _ in range(2))
    mixer = Attention(dim, heads, [core], [heads], ctor["qkv_bias"])
    ffn = Mlp(dim, None, ratio=ctor["mlp_ratio"][branch])
    return Block(None, norm1, mixer, None, None, None, norm2, ffn, dim=dim, layer_scale=None, drop_path=0.0)


def call_branches(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    a, b = module((inputs["branch0"], inputs["branch1"]))
    return {"branch0": a, "branch1": b}


def bridge(meta: Meta) -> ContextLayer:
    """The authors count ratios from the last stage; three stages go without the norm of the feed-forward."""
    width, ratios = meta["ctor"]["dims"], meta["ctor"]["reduction_ratios"]
    stages = len(ratios)
    dims = [width * multiple for multiple in MULTIPLES[-stages:]]
    grids = [(side, side) for side in SIDES[-stages:]]
    strides = (*reversed(ratios[1:]), 1)
    return ContextLayer(width, dims, grids, strides, meta["ctor"]["head"], skip_norm=stages == 4)


def bridge_names(meta: Meta, params: Tensors) -> Tensors:
    """Their feed-forwards have two norms without use, and count stages of the whole network."""
    first = 5 - len(meta["ctor"]["reduction_ratios"])
    found = renamed(
        {name: tensor for name, tensor in params.items() if not re.search(r"mixffn\d\.norm[23]\.", name)},
        (r"^attn\.scale_reduce\.norm\.", "norm_keys."),
        (r"^attn\.scale_reduce\.sr(\d)\.", r"coarse.\1.conv."),
        (r"^attn\.", ""),
        (r"^mixffn(\d)\.(dwconv\.dwconv\.)?", lambda m: f"ffns.{int(m[1]) - first}." + ("dwconv." if m[2] else "")),
        (r"^(ffns\.\d\.)norm1\.", r"\1norm."),
    )
    width = meta["ctor"]["dims"]
    return {name: regrouped(tensor, width) if name.startswith("coarse.") else tensor for name, tensor in found.items()}


def regrouped(tensor: Tensor, width: int) -> Tensor:
    """Their keys of one position hold every k-th of its channels, ours k times as many neighbours."""
    return tensor.unflatten(0, (width, -1)).transpose(0, 1).flatten(0, 1)


MAPS: dict[str, Adapter] = {
    "cross_attention_fusion": Adapter(
        build=cross_attention,
        rename=lambda meta, params: {name.removeprefix("w"): tensor for name, tensor in params.items()},
        call=lambda module, meta, inputs: {"": module(inputs["x"])},
    ),
    "crossvit_multiscale": Adapter(
        build=multi_scale,
        rename=lambda meta, params: renamed(without_idle(params), *INSIDE_STAGES),
        call=call_branches,
    ),
    "missformer_bridge": Adapter(
        build=bridge,
        rename=bridge_names,
        call=lambda module, meta, inputs: {"": module(inputs["x"])},
    ),
}
