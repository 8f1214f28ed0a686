"""Name maps for cross-shaped windows, linear and agent attention, and HiLo."""

import torch
from torch import Tensor

from nas.genotype import Atom
from search_spaces.mixers.hilo import HiLo
from search_spaces.model import Block
from tests.oracles.adapter import Adapter, Meta, Tensors
from tests.oracles.maps.attention import attention_of, block, call_tokens, renamed


def attention(meta: Meta, atom: Atom) -> torch.nn.Module:
    """These authors leave out the bias of q, k and v unless told otherwise."""
    return attention_of({**meta, "ctor": {"qkv_bias": False, **meta["ctor"]}}, atom)


def build_cross_shaped(meta: Meta) -> Block:
    """One stripe as wide as the map serves all heads."""
    ctor = meta["ctor"]
    whole = ctor["split_size"] == ctor["reso"] or ctor.get("last_stage", False)
    atom = Atom("cross_shaped_window", stripes=1) if whole else Atom("cross_shaped_window", stripe=ctor["split_size"])
    mixer = attention(meta, atom)
    return block(ctor["dim"], mixer, ctor["mlp_ratio"], eps=1e-5)


def cross_shaped_weights(meta: Meta, params: Tensors) -> Tensors:
    parts = {f"attns.{i}.get_v.": f"mixer.cores.{i}.local." for i in (0, 1)}
    return renamed(params, {"qkv.": "mixer.qkv.", "proj.": "mixer.proj.", "mlp.": "ffn.", **parts})


def joined(params: Tensors) -> Tensors:
    """q (C) and kv (2C) -> qkv (3C), and the names of a reduction."""
    found = dict(params)
    for kind in ("weight", "bias"):
        if f"q.{kind}" in found:
            found[f"qkv.{kind}"] = torch.cat([found.pop(f"q.{kind}"), found.pop(f"kv.{kind}")])
    return renamed(found, {"sr.": "cores.0.coarse.conv.", "norm.": "cores.0.coarse.norm."})


def linear_weights(meta: Meta, params: Tensors) -> Tensors:
    heads = meta["ctor"]["num_heads"]

    def by_head(x: Tensor) -> Tensor:
        return x[0].unflatten(1, (heads, -1)).transpose(0, 1)

    found = joined(params)
    found["cores.0.scale"] = by_head(found.pop("scale"))
    found["cores.0.position"] = by_head(found.pop("positional_encoding"))
    return renamed(found, {"dwc.": "cores.0.local.conv."})


def build_linear(meta: Meta) -> torch.nn.Module:
    ctor = meta["ctor"]
    atom = Atom(
        "linear",
        power=ctor.get("focusing_factor", 3),
        kernel=ctor.get("kernel_size", 5),
        position=True,
        reduction=ctor.get("sr_ratio", 1),
    )
    return attention(meta, atom)


def agent_weights(meta: Meta, params: Tensors) -> Tensors:
    """The authors keep the agents last in the rows and columns of the queries."""
    found = joined(params)
    found["cores.0.key_bias.table"] = found.pop("an_bias")
    found["cores.0.query_bias.table"] = found.pop("na_bias")
    found["cores.0.key_bias.rows"], found["cores.0.key_bias.columns"] = found.pop("ah_bias")[0], found.pop("aw_bias")[0]
    for name, official in (("rows", "ha_bias"), ("columns", "wa_bias")):
        found[f"cores.0.query_bias.{name}"] = found.pop(official)[0].movedim(3, 1)
    return renamed(found, {"dwc.": "cores.0.local.conv."})


def build_agent(meta: Meta) -> torch.nn.Module:
    ctor = meta["ctor"]
    atom = Atom("agent", agents=ctor.get("agent_num", 49), position_bias=True, reduction=ctor.get("sr_ratio", 1))
    return attention(meta, atom)


def build_hilo(meta: Meta) -> HiLo:
    """The authors round the number of heads for low frequencies down."""
    ctor = meta["ctor"]
    dim, heads, window = ctor["dim"], ctor["num_heads"], ctor.get("window_size", 2)
    low = heads if window == 1 else int(heads * ctor.get("alpha", 0.5))
    grid, bias = tuple(meta["grid"]), ctor.get("qkv_bias", False)
    return HiLo(dim, heads, grid, share=low / heads, window=window, qkv_bias=bias)


def hilo_weights(meta: Meta, params: Tensors) -> Tensors:
    low = 1 if any(name.startswith("h_") for name in params) else 0
    names = {"h_qkv.": "branches.0.qkv.", "h_proj.": "branches.0.proj."}
    return renamed(params, names | {f"l_{name}.": f"branches.{low}.{name}." for name in ("q", "kv", "proj")})


MAPS: dict[str, Adapter] = {
    "agent": Adapter(build=build_agent, rename=agent_weights, call=call_tokens),
    "cross_shaped_window": Adapter(build=build_cross_shaped, rename=cross_shaped_weights, call=call_tokens),
    "focused_linear": Adapter(build=build_linear, rename=linear_weights, call=call_tokens),
    "hilo": Adapter(build=build_hilo, rename=hilo_weights, call=call_tokens),
}
