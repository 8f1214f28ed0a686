"""How the attention cores take part in the comparison with numerical oracles: build, rename weights, call.

An oracle is one run of an authors' module: settings, weights, inputs, outputs and gradients. MAPS names, for each
mechanism of the pack, how the same settings and weights go into ours.
"""

import torch
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces.costs import Shape
from search_spaces.ffn.mlp import Mlp
from search_spaces.mixers import MIXERS, Attention, build_mixer
from search_spaces.mixers.windows import GroupAttention
from search_spaces.model import Block
from tests.oracles.adapter import Adapter, Meta, Tensors


def renamed(params: Tensors, names: dict[str, str]) -> Tensors:
    """Official weights under our names; `names` maps official prefixes, longest first, to ours."""
    found = {}
    for key, value in params.items():
        prefix = max((p for p in names if key.startswith(p)), key=len, default="")
        found[names.get(prefix, "") + key.removeprefix(prefix)] = value
    return found


def attention_of(meta: Meta, atom: Atom) -> nn.Module:
    """Our attention for an atom, with the sizes and the qkv bias of the official constructor."""
    ctor, grid = meta["ctor"], meta["grid"]
    dim, heads, tokens = ctor["dim"], ctor["num_heads"], meta["inputs"]["x"][1]
    shape = Shape(dim=dim, heads=heads, head_dim=dim // heads, grid=tuple(grid) if grid else None, tokens=tokens)
    return build_mixer((Atom(atom.kind, **atom.params, qkv_bias=ctor.get("qkv_bias", True)),), 1.0, shape)


def call_tokens(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    return {"": module(inputs["x"])}


def same_names(meta: Meta, params: Tensors) -> Tensors:
    return params


def q_and_kv(meta: Meta, params: Tensors) -> Tensors:
    """Weights q (C) and kv (2C) -> qkv (3C); the reduction sr and its norm go to the core."""
    joined = dict(params)
    for kind in ("weight", "bias"):
        if f"q.{kind}" in params:
            joined[f"qkv.{kind}"] = torch.cat([joined.pop(f"q.{kind}"), joined.pop(f"kv.{kind}")])
    return renamed(joined, {"sr.": "cores.0.coarse.conv.", "norm.": "cores.0.coarse.norm."})


def build_reduction(meta: Meta) -> nn.Module:
    ctor = meta["ctor"]
    if ctor.get("linear"):
        return attention_of(meta, Atom("spatial_reduction", pool=7))
    return attention_of(meta, Atom("spatial_reduction", reduction=ctor.get("sr_ratio", 1)))


def shunted_weights(meta: Meta, params: Tensors) -> Tensors:
    """kv1 and kv2 hold k then v of their half of the heads: rows of our W_k and W_v."""
    joined = dict(params)
    for kind in ("weight", "bias"):
        if f"q.{kind}" not in params:
            continue
        halves = [joined.pop(f"{name}.{kind}").chunk(2) for name in ("kv1", "kv2", "kv") if f"{name}.{kind}" in joined]
        keys, values = zip(*halves, strict=True)
        joined[f"qkv.{kind}"] = torch.cat([joined.pop(f"q.{kind}"), *keys, *values])
    names = {"local_conv.": "cores.0.local."}
    for half in (1, 2):
        names |= {f"sr{half}.": f"cores.{half - 1}.coarse.conv.", f"norm{half}.": f"cores.{half - 1}.coarse.norm."}
        names |= {f"local_conv{half}.": f"cores.{half - 1}.local."}
    return renamed(joined, names)


def build_swin_block(meta: Meta) -> nn.Module:
    ctor = meta["ctor"]
    meta = {**meta, "grid": ctor["input_resolution"]}
    mixer = attention_of(meta, Atom("shifted_window" if ctor["shift_size"] else "window", window=ctor["window_size"]))
    return block(ctor["dim"], mixer, ctor["mlp_ratio"], eps=1e-5)


def build_partition_block(meta: Meta) -> nn.Module:
    """The window of these cases may be oblong, which an atom cannot say but the core can."""
    ctor, cfg = meta["ctor"], meta["ctor"]["cfg"]
    heads = ctor["dim"] // cfg["dim_head"]
    kind, size = ("grid", "grid_size") if ctor["partition_type"] == "grid" else ("window", "window_size")
    core = MIXERS[kind](
        dim=ctor["dim"], num_heads=heads, head_dim=cfg["dim_head"], grid=tuple(meta["grid"]), window=tuple(cfg[size])
    )
    return block(ctor["dim"], Attention(ctor["dim"], heads, [core], [heads]), cfg["expand_ratio"], eps=1e-6)


def block(dim: int, mixer: nn.Module, ratio: float, eps: float) -> Block:
    """A pre-norm transformer block of ours."""
    ffn, norm1, norm2 = Mlp(dim, None, ratio=ratio), nn.LayerNorm(dim, eps=eps), nn.LayerNorm(dim, eps=eps)
    return Block(None, norm1, mixer, None, None, None, norm2, ffn, dim=dim, layer_scale=None, drop_path=0.0)


TABLE = "cores.0.table"
BLOCK_NAMES = {
    "attn.": "mixer.",
    "attn.relative_position_bias_table": f"mixer.{TABLE}",
    "attn.rel_pos.relative_position_bias_table": f"mixer.{TABLE}",
    "mlp.": "ffn.",
}


def partition_weights(meta: Meta, params: Tensors) -> Tensors:
    """qkv rows per head [q_h | k_h | v_h] -> [q | k | v], unless the case says otherwise."""
    found = renamed(params, BLOCK_NAMES)
    if meta["ctor"]["cfg"].get("head_first", True):
        heads = meta["ctor"]["dim"] // meta["ctor"]["cfg"]["dim_head"]
        for key in ("mixer.qkv.weight", "mixer.qkv.bias"):
            found[key] = found[key].unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)
    return found


def call_map(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    """(B, H, W, C) in and out."""
    x = inputs["x"]
    return {"": module(x.flatten(1, 2)).unflatten(1, x.shape[1:3])}


def build_one_window(meta: Meta) -> nn.Module:
    """The official module sees windows as a batch: a map of one window."""
    ctor = meta["ctor"]
    dim, heads, size = ctor["dim"], ctor["num_heads"], tuple(ctor["window_size"])
    core = MIXERS["window"](dim=dim, num_heads=heads, head_dim=dim // heads, grid=size, window=size)
    return Attention(dim, heads, [core], [heads], qkv_bias=ctor.get("qkv_bias", True))


def call_windows(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    """The mask of each window is added to the bias; our core makes its own masks and takes none."""
    if "mask" not in inputs:
        return {"": module(inputs["x"])}
    assert isinstance(module, Attention)
    core, mask = module.cores[0], inputs["mask"]
    assert isinstance(core, GroupAttention)
    plain = core._bias
    outs = []
    for number, window in enumerate(inputs["x"]):
        core._bias = lambda q, number=number: plain(q) + mask[number % len(mask)]  # type: ignore[method-assign,misc]
        outs.append(module(window[None]))
    return {"": torch.cat(outs)}


class Projected(nn.Module):
    """A core between projections of unequal widths, which shared projections do not have."""

    def __init__(self, core: nn.Module, dim: int, d_key: int, d_value: int, heads: int):
        super().__init__()
        self.queries, self.keys = nn.Linear(dim, d_key), nn.Linear(dim, d_key)
        self.values, self.reprojection = nn.Linear(dim, d_value), nn.Linear(d_value, dim)
        self.core, self.heads = core, heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for f in (self.queries, self.keys, self.values))
        return self.reprojection(self.core.attend(q, k, v).transpose(1, 2).flatten(2))  # type: ignore[operator]


def build_efficient(meta: Meta) -> nn.Module:
    c = meta["ctor"]
    dim, heads = c["in_channels"], c["head_count"]
    core = MIXERS["efficient"](dim=dim, num_heads=heads, head_dim=c["key_channels"] // heads, grid=None)
    return Projected(core, dim, c["key_channels"], c["value_channels"], heads)


def call_efficient(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    """(B, C, H, W); the official module adds its input."""
    x = inputs["x"]
    return {"": x + module(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])}


def squeeze_convolutions(meta: Meta, params: Tensors) -> Tensors:
    return {k: v.flatten(1) if v.dim() == 4 else v for k, v in params.items()}


reduction = Adapter(build=build_reduction, rename=q_and_kv, call=call_tokens)
swin_block = Adapter(build=build_swin_block, rename=lambda meta, p: renamed(p, BLOCK_NAMES), call=call_tokens)
partition_block = Adapter(build=build_partition_block, rename=partition_weights, call=call_map)

MAPS: dict[str, Adapter] = {
    "block_partition": partition_block,
    "efficient_attention": Adapter(build=build_efficient, rename=squeeze_convolutions, call=call_efficient),
    "grid": partition_block,
    "mhsa": Adapter(build=lambda meta: attention_of(meta, Atom("softmax")), rename=same_names, call=call_tokens),
    "shifted_window": swin_block,
    "shunted": Adapter(
        build=lambda meta: attention_of(meta, Atom("shunted", reduction=meta["ctor"]["sr_ratio"])),
        rename=shunted_weights,
        call=call_tokens,
    ),
    "spatial_reduction": reduction,
    "spatial_reduction_v2": reduction,
    "twins_global_subsampled": reduction,
    "twins_local": Adapter(
        build=lambda meta: attention_of(meta, Atom("window", window=meta["ctor"]["ws"], position_bias=False)),
        rename=same_names,
        call=call_tokens,
    ),
    "window": swin_block,
    "window_attention": Adapter(
        build=build_one_window,
        rename=lambda meta, p: renamed(p, {"relative_position_bias_table": TABLE}),
        call=call_windows,
    ),
}
