"""Name maps for the authors' modules of Fourier mixers, convolutional mixers and deformable attention."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.ffn.mix import MixFeedForward
from search_spaces.mixers.afno import FourierOperator
from search_spaces.mixers.convolutional_projection import ConvolutionalProjection, PatchConvolution
from search_spaces.mixers.deformable import DeformableAttention
from search_spaces.mixers.fcvit import FullyConvolutionalMixer, GlobalContext
from search_spaces.mixers.global_filter import GlobalFilter
from search_spaces.mixers.large_kernel import LargeKernelAttention
from search_spaces.model import Block
from search_spaces.norms import SingleGroupNorm
from tests.oracles.adapter import Adapter, Meta, Tensors


def named(params: Tensors, names: dict[str, str], linear: tuple[str, ...] = ()) -> Tensors:
    """The authors' words replaced by ours wherever they occur; 1×1 convolutions that are linear here flattened."""
    found = {}
    for name, value in params.items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        layer = name.removesuffix(".weight").split(".")[-1]
        found[name] = value.flatten(1) if layer in linear else value
    return found


def on_map(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    """Of a module that takes (B, C, H, W)."""
    tokens = inputs["x"].flatten(2).transpose(1, 2)
    return {"": module(tokens).transpose(1, 2).unflatten(2, meta["grid"])}


def fourier(meta: Meta, grid: tuple[int, int], counted: int) -> FourierOperator:
    """The authors count the kept columns from `counted` tokens, and keep every row."""
    ctor = meta["ctor"]
    module = FourierOperator(
        ctor["hidden_size"], 1, grid, blocks=ctor.get("num_blocks", 8), expand=ctor.get("hidden_size_factor", 1),
        shrink=ctor.get("sparsity_threshold", 0.01),
    )  # fmt: skip
    kept = int((counted // 2 + 1) * ctor.get("hard_thresholding_fraction", 1))
    module.columns = min(kept, grid[1] // 2 + 1)
    return module


def fourier_names(meta: Meta, params: Tensors) -> Tensors:
    return named(params, {"w1": "weight1", "w2": "weight2", "b1": "bias1", "b2": "bias2"})


def with_input(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    """The authors' module adds its input."""
    return {"": module(inputs["x"]) + inputs["x"]}


def map_with_input(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    return {"": on_map(module, meta, inputs)[""] + inputs["x"]}


LARGE_KERNEL_NAMES = {
    "spatial_gating_unit.conv0": "near", "spatial_gating_unit.conv_spatial": "far",
    "spatial_gating_unit.conv1": "gate", "proj_1": "f", "proj_2": "proj",
}  # fmt: skip


def convolutional_projection(meta: Meta) -> ConvolutionalProjection:
    """Without convolutions the authors have pooling, or nothing at all, which is pooling of one token."""
    ctor, method = meta["ctor"], meta["ctor"].get("method", "dw_bn")
    stride, kernel = ctor.get("stride_kv", 1), ctor.get("kernel_size", 3)
    if method == "linear":
        stride, kernel = 1, 1
    module = ConvolutionalProjection(
        ctor["dim_in"], ctor["num_heads"], tuple(meta["grid"]), stride=stride, kernel=kernel, scale="width",
        pool=method != "dw_bn", qkv_bias=ctor.get("qkv_bias", False),
    )  # fmt: skip
    if isinstance(module.local_q, PatchConvolution):
        step = ctor.get("stride_q", 1)  # 1 as a rule, since a mixer keeps the number of tokens
        module.local_q.conv.stride = (step, step)
    return module


def context(meta: Meta) -> dict[str, Any]:
    found = meta["ctor"].get("params", {}).get("global_context", {})
    return {
        "groups": found.get("head", 8),
        "reduction": found.get("gc_reduction", 8),
        "compete": found.get("compete", True),
    }


def fcvit(meta: Meta) -> FullyConvolutionalMixer:
    sizes = meta["ctor"].get("params", {}).get("spatial_mixer", {})
    kernels = {"kernel": sizes.get("mix_size_1", 11), "kernel2": sizes.get("mix_size_2", 11)}
    return FullyConvolutionalMixer(meta["ctor"]["dim"], 1, tuple(meta["grid"]), **kernels, **context(meta))


def fcvit_block(meta: Meta) -> Block:
    dim, grid = meta["ctor"]["dim"], tuple(meta["grid"])
    norm1, norm2 = SingleGroupNorm(dim), SingleGroupNorm(dim)
    ffn = MixFeedForward(dim, grid, ratio=meta["ctor"]["mlp_ratio"])
    return Block(None, norm1, fcvit(meta), None, None, None, norm2, ffn, dim=dim, layer_scale=1.0, drop_path=0.0)


CONTEXT_NAMES = {"fc.0.": "fc1.", "fc.2.": "fc2.", "rescale_weight": "scale", "rescale_bias": "shift"}
HALVES = {
    f"{theirs}{half}{layer}": f"{name}.{ours}"
    for half, name in ((1, "first"), (2, "second"))
    for theirs, layer, ours in (("fc", ".0.", "fc1."), ("fc", ".2.", "fc2."), ("dw", ".", "depthwise."))
}


def fcvit_names(meta: Meta, params: Tensors) -> Tensors:
    """The context's layers are named like the bottlenecks, so they are told apart first."""
    found: Tensors = {}
    for name, value in params.items():
        half = next((h for h in ("gc1", "gc2") if f"{h}." in name), None)
        if half is None:
            found |= named({name: value}, HALVES, ("fc1", "fc2"))
        else:
            ours = "first.context" if half == "gc1" else "second.context"
            found |= named({name: value}, {half: ours, **CONTEXT_NAMES})
    return found


BLOCK_NAMES = {
    "token_mixer.": "mixer.", "channel_mixer.": "ffn.", "layer_scale_1": "ls1.gamma", "layer_scale_2": "ls2.gamma",
}  # fmt: skip


def fcvit_block_names(meta: Meta, params: Tensors) -> Tensors:
    ours = named(params, BLOCK_NAMES)
    ours |= named({n: t for n, t in ours.items() if n.startswith("ffn.")}, {}, ("fc1", "fc2"))
    mixer = fcvit_names(meta, {n: t for n, t in ours.items() if n.startswith("mixer.")})
    return {**{n: t for n, t in ours.items() if not n.startswith("mixer.")}, **mixer}


def deformable(meta: Meta) -> DeformableAttention:
    """Without offsets the authors pool the map, which ours does where its offsets are zero."""
    ctor, still = meta["ctor"], meta["ctor"]["no_off"]
    if ctor["fixed_pe"] or ctor["log_cpb"]:
        pytest.skip("ours has no fixed table of token pairs and no network for its bias")
    if still and ctor["stride"] > 2:
        pytest.skip("one point read bilinearly is a mean of 2×2 tokens at most")
    return DeformableAttention(
        ctor["n_heads"] * ctor["n_head_channels"], ctor["n_heads"], tuple(meta["grid"]), reduction=ctor["stride"],
        groups=ctor["n_groups"], kernel=ctor["ksize"], offset_range=ctor["offset_range_factor"],
        bias="none" if still or not ctor["use_pe"] else "convolution" if ctor["dwc_pe"] else "table",
        reference="centred" if still else "published",
    )  # fmt: skip


DEFORMABLE_NAMES = {
    "conv_offset.0": "points.depthwise", "conv_offset.1.norm": "points.norm", "conv_offset.3": "points.offset",
    "proj_q": "q", "proj_out": "proj",
}  # fmt: skip


def deformable_names(meta: Meta, params: Tensors) -> Tensors:
    table = "local" if meta["ctor"]["dwc_pe"] else "table.weight"
    linear = ("q", "proj_k", "proj_v", "offset", "proj")
    ours = named(params, {**DEFORMABLE_NAMES, "rpe_table": table}, linear)
    for kind in ("weight", "bias"):
        ours[f"kv.{kind}"] = torch.cat([ours.pop(f"proj_k.{kind}"), ours.pop(f"proj_v.{kind}")])
    if meta["ctor"]["no_off"]:
        ours["points.offset.weight"] = torch.zeros_like(ours["points.offset.weight"])
    return ours


def call_deformable(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    assert isinstance(module, DeformableAttention)
    outputs = {"y": on_map(module, meta, inputs)[""]}
    if meta["ctor"]["no_off"]:
        return outputs
    q = module.q(inputs["x"].flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, meta["grid"])
    outputs["pos"] = _points(module.points(q), module)
    outputs["ref"] = _points(module.points.start, module).expand_as(outputs["pos"])
    return outputs


def _points(points: Tensor, module: DeformableAttention) -> Tensor:
    """(x, y) of a point -> (y, x), groups apart."""
    return points.flip(-1).unflatten(0, (-1, module.points.groups)) if points.dim() == 4 else points.flip(-1)


MAPS: dict[str, Adapter] = {
    "afno": Adapter(
        build=lambda meta: fourier(meta, tuple(meta["grid"]), meta["inputs"]["x"][1]),
        rename=fourier_names,
        call=with_input,
    ),
    "afno1d": Adapter(
        build=lambda meta: fourier(meta, (1, meta["inputs"]["x"][1]), meta["inputs"]["x"][1]),
        rename=fourier_names,
        call=with_input,
    ),
    "global_filter": Adapter(
        build=lambda meta: GlobalFilter(meta["ctor"]["dim"], 1, tuple(meta["grid"])),
        rename=lambda meta, params: named(params, {"complex_weight": "weight"}),
        call=lambda module, meta, inputs: {"": module(inputs["x"])},
    ),
    "large_kernel": Adapter(
        build=lambda meta: LargeKernelAttention(meta["ctor"]["d_model"], 1, tuple(meta["grid"])),
        rename=lambda meta, params: named(params, LARGE_KERNEL_NAMES, ("f", "gate", "proj")),
        call=map_with_input,
    ),
    "cvt_projection": Adapter(
        build=convolutional_projection,
        rename=lambda meta, params: named(
            params, {"conv_proj_": "local_", ".bn.": ".norm.", "proj_q": "q", "proj_k": "k", "proj_v": "v"}
        ),
        call=lambda module, meta, inputs: {"": module(inputs["x"])},
    ),
    "fcvit_mixer": Adapter(build=fcvit, rename=fcvit_names, call=on_map),
    "fcvit_global_context": Adapter(
        build=lambda meta: GlobalContext(meta["ctor"]["dim"], **context(meta)),
        rename=lambda meta, params: named(params, CONTEXT_NAMES),
        call=on_map,
    ),
    "fcvit_block": Adapter(build=fcvit_block, rename=fcvit_block_names, call=on_map),
    "deformable": Adapter(build=deformable, rename=deformable_names, call=call_deformable),
}
