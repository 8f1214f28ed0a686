"""Name map for the authors' dual attention of DAE-Former, two blocks of ours in turn: efficient, cross-covariance."""

from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces.costs import Shape
from search_spaces.ffn.mix import MixFeedForward
from search_spaces.mixers import build_mixer
from search_spaces.mixers.efficient import EfficientAttention
from tests.oracles.adapter import Adapter, Meta, Tensors

CHANNEL_HEADS = 8  # whatever the authors' constructor is told


class OneHead(nn.Module):
    """Our core between projections whose keys and values may be narrower than the tokens."""

    def __init__(self, dim: int, key_dim: int, value_dim: int):
        super().__init__()
        self.keys, self.queries, self.values = (nn.Linear(dim, c) for c in (key_dim, key_dim, value_dim))
        self.core, self.proj = EfficientAttention(dim, 1, key_dim, None), nn.Linear(value_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (project(x).unsqueeze(1) for project in (self.queries, self.keys, self.values))
        return self.proj(self.core.attend(q, k, v).squeeze(1))


def _dual(meta: Meta) -> nn.Module:
    ctor, block = meta["ctor"], nn.Module()
    dim, grid, skip = ctor["in_dim"], tuple(meta["grid"]), ctor["token_mlp"] == "mix_skip"
    shape = Shape(dim=dim, heads=CHANNEL_HEADS, head_dim=dim // CHANNEL_HEADS, grid=grid, tokens=grid[0] * grid[1])
    block.attn = OneHead(dim, ctor["key_dim"], ctor["value_dim"])
    block.channel_attn = build_mixer((Atom("cross_covariance", qkv_bias=False),), 1.0, shape)
    block.mlp1, block.mlp2 = (MixFeedForward(dim, grid, skip_norm=skip) for _ in range(2))
    block.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(4))
    return block


WORDS = {
    "attn.reprojection.": "attn.proj.", "dwconv.dwconv.": "dwconv.", ".norm1.": ".norm.",
    "channel_attn.temperature": "channel_attn.cores.0.temperature",
}  # fmt: skip


def _dual_names(meta: Meta, tensors: Tensors) -> Tensors:
    """Two of the three norms in each of the authors' MLPs are never used."""
    found = {}
    for name, tensor in tensors.items():
        if ".norm2." in name or ".norm3." in name:
            continue
        for theirs, ours in WORDS.items():
            name = name.replace(theirs, ours)
        name = f"norms.{int(name[4]) - 1}{name[5:]}" if name.startswith("norm") else name
        found[name] = tensor.flatten(1) if name.startswith("attn.") and tensor.ndim == 4 else tensor
    return found


def _call_dual(block: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    x = inputs["x"]
    for norm, part in zip(block.norms, (block.attn, block.mlp1, block.channel_attn, block.mlp2), strict=True):
        x = x + part(norm(x))
    return {"": x}


MAPS = {"dae_dual": Adapter(build=_dual, rename=_dual_names, call=_call_dual)}
