"""Name maps for the authors' modules of token selection, merging and splitting, and of feed-forward networks."""

import torch
from torch import nn
from torch.func import functional_call

from nas.genotype import Atom
from search_spaces.costs import Shape
from search_spaces.downsamplers.deformable import DeformableMerging
from search_spaces.ffn.inverted_residual import InvertedResidual
from search_spaces.ffn.mix import MixFeedForward
from search_spaces.ffn.mixture import TopGate, imbalance
from search_spaces.ffn.mlp import Mlp
from search_spaces.layer import to_tokens
from search_spaces.locals.perception import LocalPerception
from search_spaces.mixers import build_mixer
from search_spaces.mixers.light import LightAttention
from search_spaces.model import Block
from search_spaces.reducers.evit import AttentiveTokens, keep_attentive
from search_spaces.stems.tokens_to_token import TokensToTokenStem
from tests.oracles.adapter import Adapter, Meta, Tensors
from tests.oracles.maps.channels_and_parts import call_x, renamed


def _evit(meta: Meta) -> nn.Module:
    """The authors' block: the reducer asks with the queries and keys of the attention in front of it."""
    ctor, dim, length = meta["ctor"], meta["ctor"]["dim"], meta["inputs"]["x"][1]
    heads, block = ctor["num_heads"], nn.Module()
    shape = Shape(dim=dim, heads=heads, head_dim=dim // heads, grid=None, tokens=length - 1, prefix=1)
    block.norm1, block.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
    block.attn = build_mixer((Atom("softmax", qkv_bias=ctor["qkv_bias"]),), 1.0, shape)
    block.mlp = Mlp(dim, None, ctor["mlp_ratio"])
    block.reducer = AttentiveTokens(dim, length - 1, 1, ctor["keep_rate"], num_heads=heads, head_dim=dim // heads)
    block.reducer.norm = nn.Identity()
    return block


def _evit_names(meta: Meta, tensors: Tensors) -> Tensors:
    dim, weight = meta["ctor"]["dim"], tensors["attn.qkv.weight"]
    bias = tensors.get("attn.qkv.bias", torch.zeros(3 * dim))
    asked = {"q.weight": weight[:dim], "q.bias": bias[:dim], "k.weight": weight[dim : 2 * dim]}
    return tensors | {f"reducer.{name}": rows for name, rows in asked.items()}


def _call_evit(block: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    x, attentive = inputs["x"], block.reducer.attentive
    normed = block.norm1(x)
    scores = block.reducer.scores(normed)
    x = x + block.attn(normed)
    x = torch.cat([x[:, :1], keep_attentive(x[:, 1:], scores, attentive)], dim=1)
    x = x if meta["ctor"]["fuse_token"] else x[:, :-1]
    return {"x": x + block.mlp(block.norm2(x)), "idx": scores.topk(attentive, dim=1).indices}


def _deformable(meta: Meta) -> DeformableMerging:
    """With maps laid out as the authors': for one contiguous image PyTorch's batch norm in evaluation scrambles a
    channels-last gradient, and the recorded gradients hold that. Ours is channels-last throughout and right."""
    ctor = meta["ctor"]
    module = DeformableMerging(ctor["in_chans"], ctor["embed_dim"], tuple(meta["grid"]), factor=ctor["patch_size"])
    module.norm.register_forward_pre_hook(lambda norm, args: (args[0].contiguous(),))
    return module


def _deformable_names(meta: Meta, tensors: Tensors) -> Tensors:
    names = renamed(("dconv.conv_offset.", "offset."), ("dconv.", "proj."), ("norm_layer.", "norm."))(meta, tensors)
    return names | _counters(tensors, {"norm_layer.": "norm."})


def _call_deformable(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    return {"x": module(to_tokens(inputs["x"])), "offset": module.offsets(inputs["x"])}


def _tokens_to_token(meta: Meta) -> TokensToTokenStem:
    ctor, kinds = meta["ctor"], {"transformer": "softmax", "performer": "performer"}
    size, attention = (ctor["img_size"], ctor["img_size"]), kinds[ctor["tokens_type"]]
    return TokensToTokenStem(3, ctor["embed_dim"], size, 16, token_dim=ctor["token_dim"], attention=attention)


def _tokens_to_token_names(meta: Meta, tensors: Tensors) -> Tensors:
    found = {}
    for name, tensor in tensors.items():
        for theirs, ours in (
            ("attention1.", "layers.0."), ("attention2.", "layers.1."), ("attn.", ""),
            ("mlp.0.", "mlp.fc1."), ("mlp.2.", "mlp.fc2."),
        ):  # fmt: skip
            name = name.replace(theirs, ours)
        found[f"{name.removesuffix('.w')}.directions" if name.endswith(".w") else name] = tensor
    return found


def _skip_norm(meta: Meta) -> MixFeedForward:
    dim, hidden = meta["ctor"]["c1"], meta["ctor"]["c2"]
    return MixFeedForward(dim, tuple(meta["grid"]), ratio=hidden / dim, skip_norm=True)


def _skip_norm_names(meta: Meta, tensors: Tensors) -> Tensors:
    """Two of the authors' three norms are never used."""
    used = {name: t for name, t in tensors.items() if not name.startswith(("norm2.", "norm3."))}
    return renamed(("dwconv.dwconv.", "dwconv."), ("norm1.", "norm."))(meta, used)


def _light(meta: Meta) -> LightAttention:
    """The authors keep the scale of the values' width where queries and keys are narrower."""
    ctor = meta["ctor"]
    dim, heads, ratio = ctor["dim"], ctor["num_heads"], ctor.get("qk_ratio", 1)
    module = LightAttention(
        dim, heads, tuple(meta["grid"]), reduction=ctor["sr_ratio"], qk_ratio=ratio, position_bias=True,
        qkv_bias=ctor["qkv_bias"],
    )  # fmt: skip
    module.scale = (dim // heads) ** -0.5
    return module


def _light_names(meta: Meta, tensors: Tensors) -> Tensors:
    """The table of positions is an input of the authors' module and a parameter of ours."""
    ours = renamed(("sr.0.", "reduce."), ("sr.1.", "norm."))(meta, tensors) | _counters(tensors, {"sr.1.": "norm."})
    return ours | {"position_bias": torch.zeros(meta["inputs"]["relative_pos"])}


def _cmt_block(meta: Meta) -> Block:
    ctor, grid = meta["ctor"], tuple(meta["grid"])
    dim = ctor["dim"]
    return Block(
        before=LocalPerception(dim, grid), norm1=nn.LayerNorm(dim), mixer=_light(meta), norm3=None, between=None,
        before_ffn=None, norm2=nn.LayerNorm(dim), ffn=InvertedResidual(dim, grid, ctor["mlp_ratio"]),
        dim=dim, layer_scale=None, drop_path=0.0,
    )  # fmt: skip


CMT_BLOCK_NAMES = (
    ("proj.", "before.proj."), ("attn.sr.0.", "mixer.reduce."), ("attn.sr.1.", "mixer.norm."), ("attn.", "mixer."),
    ("mlp.conv1.0.", "ffn.fc1."), ("mlp.conv1.2.", "ffn.norm1."), ("mlp.proj.", "ffn.dwconv."),
    ("mlp.proj_bn.", "ffn.norm2."), ("mlp.conv2.0.", "ffn.fc2."), ("mlp.conv2.1.", "ffn.norm3."),
)  # fmt: skip


def _cmt_block_names(meta: Meta, tensors: Tensors) -> Tensors:
    ours = renamed(*CMT_BLOCK_NAMES)(meta, tensors) | _counters(tensors, dict(CMT_BLOCK_NAMES))
    ours = {name: t.flatten(1) if name.endswith(("fc1.weight", "fc2.weight")) else t for name, t in ours.items()}
    return ours | {"mixer.position_bias": torch.zeros(meta["inputs"]["relative_pos"])}


def _counters(tensors: Tensors, names: dict[str, str]) -> Tensors:
    """The batches that a batch norm has seen, which the authors' records leave out."""
    found = [name.removesuffix("running_mean") for name in tensors if name.endswith("running_mean")]
    return {f"{names[name]}num_batches_tracked": torch.tensor(0) for name in found}


def _call_with_table(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    name = next(name for name, _ in module.named_parameters() if name.endswith("position_bias"))
    return {"": functional_call(module, {name: inputs["relative_pos"]}, (inputs["x"],))}


def _gate(meta: Meta, renormalise: bool) -> TopGate:
    ctor = meta["ctor"]
    return TopGate(ctor["d_model"], ctor["num_expert"], ctor["top_k"], renormalise=renormalise)


def _gate_names(meta: Meta, tensors: Tensors) -> Tensors:
    """The weights of the noise have no effect in evaluation."""
    return {"proj.weight": tensors["w_gate"].T}


def _training_gate(meta: Meta) -> TopGate:
    ctor = meta["ctor"]
    return TopGate(ctor["d_model"], ctor["num_expert"], ctor["top_k"], noise=1.0 - ctor["no_noise"], balance=0.0)


def _call_training_gate(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    weights, indices = module(inputs["x"])
    loss = imbalance(weights, indices, meta["ctor"]["num_expert"])
    return {"weights": weights, "indices": indices, "loss": loss.reshape(1)}


def _call_gate(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    weights, indices = module(inputs["x"])
    return {"weights": weights, "indices": indices}


def _gate_adapter(renormalise: bool) -> Adapter:
    return Adapter(build=lambda meta: _gate(meta, renormalise), rename=_gate_names, call=_call_gate)


MAPS: dict[str, Adapter] = {
    "evit_select": Adapter(build=_evit, rename=_evit_names, call=_call_evit),
    "lit_deformable_token_merging": Adapter(build=_deformable, rename=_deformable_names, call=_call_deformable),
    "tokens_to_token": Adapter(build=_tokens_to_token, rename=_tokens_to_token_names, call=call_x),
    "cmt": Adapter(build=_light, rename=_light_names, call=_call_with_table),
    "cmt_block": Adapter(build=_cmt_block, rename=_cmt_block_names, call=_call_with_table),
    "mix_ffn_skip": Adapter(build=_skip_norm, rename=_skip_norm_names, call=call_x),
    "moe_gate_vmoe": _gate_adapter(renormalise=False),
    "moe_gate_vmoe_train": Adapter(build=_training_gate, rename=_gate_names, call=_call_training_gate),
    "moe_gate_noisy": _gate_adapter(renormalise=True),
}
