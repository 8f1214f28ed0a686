"""Name maps for the authors' shuffled windows, which are grid attention under their own projections."""

from torch import nn

from nas.genotype import Atom
from search_spaces.costs import Shape
from search_spaces.mixers import build_mixer
from tests.oracles.adapter import Adapter, Meta, Tensors

NAMES = {"relative_position_bias_table": "cores.0.table", "to_qkv.weight": "qkv.weight"}


def shuffled(meta: Meta) -> nn.Module:
    ctor, grid = meta["ctor"], tuple(meta["grid"])
    dim, heads = ctor["dim"], ctor["num_heads"]
    biased = ctor.get("relative_pos_embedding", False)
    atom = Atom(
        "grid" if ctor["shuffle"] else "window", window=ctor["window_size"], position_bias=biased, qkv_bias=False
    )
    shape = Shape(dim=dim, heads=heads, head_dim=dim // heads, grid=grid, tokens=grid[0] * grid[1])
    return build_mixer((atom,), 1.0, shape)


def shuffled_names(meta: Meta, params: Tensors) -> Tensors:
    """1×1 convolutions become linear."""
    return {NAMES.get(name, name): t.flatten(1) if t.dim() == 4 else t for name, t in params.items()}


def on_map(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    tokens = inputs["x"].flatten(2).transpose(1, 2)
    return {"": module(tokens).transpose(1, 2).unflatten(2, meta["grid"])}


MAPS: dict[str, Adapter] = {
    "shuffle_window": Adapter(build=shuffled, rename=shuffled_names, call=on_map),
}
