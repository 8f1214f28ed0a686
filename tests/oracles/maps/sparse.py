"""Name maps for the authors' modules of sparse attention: diffusion over a graph of words, routing between regions."""

import torch
from torch import Tensor, nn

from search_spaces.layer import to_tokens
from search_spaces.mixers import Attention
from search_spaces.mixers.bilevel import BilevelRouting
from search_spaces.mixers.diffuser import Diffuser
from tests.oracles.adapter import Adapter, Meta, Tensors
from tests.oracles.maps.channels_and_parts import renamed

AUTHORS_HOPS, AUTHORS_ALPHA = 5, 0.1


def _diffuser(meta: Meta) -> Attention:
    """One tile over all words, so that `allowed` may name any pairs."""
    ctor, words = meta["ctor"], meta["inputs"]["x"][1]
    dim, heads = ctor["hidden_size"], ctor["num_attention_heads"]
    core = Diffuser(dim, heads, dim // heads, (1, words), AUTHORS_HOPS, AUTHORS_ALPHA, window=2 * words - 1)
    return Attention(dim, heads, [core], [heads])


def _diffuser_names(meta: Meta, tensors: Tensors) -> Tensors:
    """The authors' class ends in front of the output projection."""
    dim, names = meta["ctor"]["hidden_size"], ("query", "key", "value")
    qkv = {f"qkv.{kind}": torch.cat([tensors[f"{name}.{kind}"] for name in names]) for kind in ("weight", "bias")}
    return qkv | {"proj.weight": torch.eye(dim), "proj.bias": torch.zeros(dim)}


def _call_diffuser(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    """A word whose edges all end in padding takes their mean: its scores are alike. One without edges keeps αV."""
    assert isinstance(module, Attention)
    core = module.cores[0]
    edges, padded = overlapping_blocks(meta), inputs["mask"] < 0  # (N, N), (B, N)
    seen = edges & ~(padded[:, :, None] | padded[:, None, :])
    lost = ~seen.any(dim=2, keepdim=True)
    lonely = ~edges.any(dim=1)
    core.allowed = ((seen | (lost & edges)) | torch.diag(lonely))[:, None, None]
    q, k, v = module.qkv(inputs["x"]).unflatten(2, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    out = core.attend(q.masked_fill(lost[:, None], 0.0), k, v)
    out = torch.where(lonely[:, None], AUTHORS_ALPHA * v, out)
    return {"": module.proj(out.transpose(1, 2).flatten(2))}


def overlapping_blocks(meta: Meta) -> Tensor:
    """(N, N): words of one block of w words are connected; blocks begin every w / 2 words."""
    words, window = meta["inputs"]["x"][1], meta["ctor"]["attention_window"]
    edges = torch.zeros(words, words, dtype=torch.bool)
    for block in range(words // (window // 2) - 1):
        own = slice(block * (window // 2), block * (window // 2) + window)
        edges[own, own] = True
    return edges


def _bilevel(meta: Meta) -> BilevelRouting:
    ctor = meta["ctor"]
    return BilevelRouting(
        ctor["dim"], ctor["num_heads"], tuple(meta["grid"]), divisions=ctor["n_win"], routes=ctor["topk"],
        kernel=ctor.get("side_dwconv", 3), qk_dim=ctor.get("qk_dim"),
    )  # fmt: skip


def _call_maps(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    x = inputs["x"]
    return {"": module(to_tokens(x.permute(0, 3, 1, 2))).unflatten(1, x.shape[1:3])}


MAPS: dict[str, Adapter] = {
    "diffuser": Adapter(build=_diffuser, rename=_diffuser_names, call=_call_diffuser),
    "bilevel_routing": Adapter(
        build=_bilevel, rename=renamed(("qkv.qkv.", "qkv."), ("lepe.", "local."), ("wo.", "proj.")), call=_call_maps
    ),
}
