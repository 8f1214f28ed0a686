"""Name maps for the authors' modules of messengers, deformable large kernels and the rest of token reduction."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom
from search_spaces.costs import Shape
from search_spaces.ffn.mlp import Mlp
from search_spaces.layer import to_map, to_tokens
from search_spaces.mixers import build_mixer
from search_spaces.mixers.carrier import CarrierAttention, PlaceEmbedding
from search_spaces.mixers.deformable_large_kernel import DeformableLargeKernel
from search_spaces.mixers.messenger import MessengerAttention
from search_spaces.model import Block
from search_spaces.reducers.dynamic import KeepPredictor, masked_attention
from search_spaces.reducers.evo import split_attentive
from search_spaces.reducers.slimming import ReverseSlimming
from tests.oracles.adapter import Adapter, Meta, Tensors
from tests.oracles.maps.channels_and_parts import call_x, renamed


def _large_kernel(meta: Meta) -> nn.Module:
    return DeformableLargeKernel(meta["ctor"]["d_model"], 1, tuple(meta["grid"]), shortcut=True, offsets="dense")


def _large_kernel_names(meta: Meta, tensors: Tensors) -> Tensors:
    gate = "spatial_gating_unit."
    pairs = [(f"{gate}conv1.", "gate."), ("proj_1.", "f."), ("proj_2.", "proj.")]
    for theirs, ours in (("conv0", "near"), ("conv_spatial", "far")):
        pairs += [(f"{gate}{theirs}.deform_conv.", f"{ours}."), (f"{gate}{theirs}.offset_net.", f"{ours}.offset.")]
    ours = renamed(*pairs)(meta, tensors)
    return {name: t.flatten(1) if t.shape[2:] == (1, 1) else t for name, t in ours.items()}


def _call_large_kernel(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    return {"": to_map(module(to_tokens(inputs["x"])), tuple(meta["grid"]))}


def _messenger(meta: Meta) -> nn.Module:
    """One region of windows. The authors' block norms messengers like tokens, and feeds them through the same MLP."""
    ctor, block = meta["ctor"], nn.Module()
    dim, grid = ctor["dim"], tuple(ctor["input_resolution"])
    block.norm1, block.norm2, block.ffn = nn.LayerNorm(dim), nn.LayerNorm(dim), Mlp(dim, None, ctor["mlp_ratio"])
    block.mixer = MessengerAttention(dim, ctor["num_heads"], grid, given=True, wanted=True, window=ctor["window_size"])
    return block


MESSENGER = (
    ("attn.relative_position_bias_table", "mixer.attention.windows.table"),
    ("attn.", "mixer.attention."), ("mlp.", "ffn."),
)  # fmt: skip


def _messenger_names(meta: Meta, tensors: Tensors) -> Tensors:
    """What the messenger's row holds besides is the same for all its keys: the softmax cancels it."""
    found = renamed(*MESSENGER)(meta, tensors)
    towards, _ = found.pop("mixer.attention.rel_pos_msg").unbind(1)
    own = {f"mixer.norm.{part}": tensors[f"norm1.{part}"] for part in ("weight", "bias")}
    return found | own | {"mixer.attention.windows.towards": towards.flatten()}


def _call_messenger(block: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    windows, messengers = block.mixer.attention.windows, inputs["x"][:, :, 0]
    x = windows.join(inputs["x"][:, :, 1:])
    memory = {"messengers": messengers}
    x = x + block.mixer(block.norm1(x), memory)
    together = torch.cat([memory["messengers"].unsqueeze(2), windows.split(x)], dim=2)
    return {"": together + block.ffn(block.norm2(together))}


def _carrier(meta: Meta) -> nn.Module:
    """The authors add the tokens' places in every block, and feed carriers through the tokens' MLP."""
    ctor, block = meta["ctor"], nn.Module()
    dim, window = ctor["dim"], ctor["window_size"]
    block.mixer = CarrierAttention(
        dim, ctor["num_heads"], tuple(meta["grid"]), given=True, wanted=True, window=window,
        carriers=ctor["ct_size"], ratio=ctor["mlp_ratio"],
    )  # fmt: skip
    block.place, block.propagated = PlaceEmbedding(dim, (window, window)), nn.Parameter(torch.zeros(dim))
    block.norm1, block.norm2, block.ffn = nn.LayerNorm(dim), nn.LayerNorm(dim), Mlp(dim, None, ctor["mlp_ratio"])
    return block


CARRIER = (
    ("hat_pos_embed.cpb_mlp.0.", "mixer.stream.place.fc1."), ("hat_pos_embed.cpb_mlp.2.", "mixer.stream.place.fc2."),
    ("pos_embed.cpb_mlp.0.", "place.fc1."), ("pos_embed.cpb_mlp.2.", "place.fc2."),
    ("hat_attn.pos_emb_funct.cpb_mlp.0.", "mixer.stream.attention.cores.0.position.fc1."),
    ("hat_attn.pos_emb_funct.cpb_mlp.2.", "mixer.stream.attention.cores.0.position.fc2."),
    ("attn.pos_emb_funct.cpb_mlp.0.", "mixer.attention.windows.position.fc1."),
    ("attn.pos_emb_funct.cpb_mlp.2.", "mixer.attention.windows.position.fc2."),
    ("hat_attn.", "mixer.stream.attention."), ("hat_norm", "mixer.stream.norm"), ("hat_mlp.", "mixer.stream.mlp."),
    ("attn.", "mixer.attention."), ("mlp.", "ffn."),
)  # fmt: skip
SCALES = {"gamma1": "hat_attn.proj.", "gamma2": "hat_mlp.fc2.", "gamma3": "attn.proj.", "gamma4": "mlp.fc2."}


def _carrier_names(meta: Meta, tensors: Tensors) -> Tensors:
    """Each layer scale goes into the projection in front of it. Queries, keys and values may lack their bias."""
    scaled = {name: tensor for name, tensor in tensors.items() if name not in SCALES}
    for scale, layer in SCALES.items():
        scaled[f"{layer}weight"] = tensors[f"{layer}weight"] * tensors[scale][:, None]
        scaled[f"{layer}bias"] = tensors[f"{layer}bias"] * tensors[scale]
    none = torch.zeros(3 * meta["ctor"]["dim"])
    found = renamed(*CARRIER)(meta, {"attn.qkv.bias": none, "hat_attn.qkv.bias": none, **scaled})
    found["propagated"] = tensors["gamma1"]
    return found | {f"mixer.norm.{part}": tensors[f"norm1.{part}"] for part in ("weight", "bias")}


def _call_carrier(block: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    """Carriers come and go window by window. Propagated, they are at the end added to the tokens they stand for."""
    mixer, first = block.mixer, meta["ctor"]["ct_size"] ** 2
    windows, memory = mixer.attention.windows, {"carriers": mixer.to_rows(inputs["ct"].unflatten(1, (-1, first)))}
    x = block.place(inputs["x"]).unflatten(0, (inputs["ct"].shape[0], -1))
    x = windows.join(x)
    x = x + mixer(block.norm1(x), memory)
    together = torch.cat([mixer.to_windows(memory["carriers"]), windows.split(x)], dim=2)
    together = together + block.ffn(block.norm2(together))
    carriers, x = together[:, :, :first], together[:, :, first:].flatten(0, 1)
    if meta["ctor"].get("do_propagation"):
        small = to_map(carriers.flatten(0, 1), (meta["ctor"]["ct_size"], meta["ctor"]["ct_size"]))
        x = x + block.propagated * to_tokens(F.interpolate(small, size=meta["ctor"]["window_size"]))
    return {"x": x, "ct": carriers.flatten(1, 2)}


DEPTH, SORTED = 12, (4, 8)  # blocks of Evo-ViT, and those in front of which it sorts


def _evo(meta: Meta) -> nn.Module:
    ctor, module = meta["ctor"], nn.Module()
    dim, heads, size = ctor["embed_dim"], ctor["num_heads"], ctor["patch_size"]
    tokens = (ctor["img_size"] // size) ** 2
    shape = Shape(dim=dim, heads=heads, head_dim=dim // heads, grid=None, tokens=tokens, prefix=1, wanted=True)
    atom = Atom("softmax", qkv_bias=ctor.get("qkv_bias", True))
    module.stem, module.cls_token = nn.Conv2d(3, dim, size, size), nn.Parameter(torch.zeros(1, 1, dim))
    module.table = nn.Parameter(torch.zeros(1, 1 + tokens, dim))
    module.blocks = nn.ModuleList(_evo_block(dim, ctor["mlp_ratio"], atom, shape) for _ in range(DEPTH))
    module.norm, module.norm_cls = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
    return module


def _evo_block(dim: int, ratio: float, atom: Atom, shape: Shape) -> Block:
    return Block(
        before=None, norm1=nn.LayerNorm(dim, eps=1e-6), mixer=build_mixer((atom,), 1.0, shape), norm3=None,
        between=None, before_ffn=None, norm2=nn.LayerNorm(dim, eps=1e-6), ffn=Mlp(dim, None, ratio), dim=dim,
        layer_scale=None, drop_path=0.0, remembers=True,
    )  # fmt: skip


def _evo_names(meta: Meta, tensors: Tensors) -> Tensors:
    found: Tensors = {}
    for name, tensor in renamed(("pos_embed", "table"), ("patch_embed.proj.", "stem."))(meta, tensors).items():
        kind, number, rest = (*name.split(".", 2), "", "")[:3]
        if kind == "qks":
            part = rest.removeprefix("qk.")
            found[f"blocks.{number}.mixer.qkv.{part}"] = torch.cat([tensor, tensors[f"vs.{number}.v.{part}"]])
        elif kind in ("norms", "projs"):
            found[f"blocks.{number}.{'norm1' if kind == 'norms' else 'mixer.proj'}.{rest}"] = tensor
        elif kind != "vs":
            found[name.replace(".mlp.", ".ffn.")] = tensor
    return found


def _call_evo(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    """The authors order tokens by the class token's attention in all blocks so far, whose heads they add up."""
    ratios, trade = meta["ctor"].get("prune_ratio", [0.5] * DEPTH), meta["ctor"].get("tradeoff", 0.5)
    x = module.stem(inputs["x"]).flatten(2).transpose(1, 2)
    x = torch.cat([module.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + module.table
    count, others, stale = x.shape[1] - 1, x[:, :0], x[:, :0, 0]
    attention = None
    for number, block in enumerate(module.blocks):
        if number in SORTED:
            x, attention = torch.cat([x, others], dim=1), torch.cat([attention, stale], dim=1)
            kept, others, stale = split_attentive(x[:, 1:], attention, int(count * ratios[number]))
            x, attention = torch.cat([x[:, :1], kept], dim=1), attention.topk(kept.shape[1], dim=1).values
        memory: Tensors = {}
        x = block(x, memory)
        row = memory["scores"][:, :, 0].softmax(dim=2)[:, :, 1:].sum(dim=1).detach()
        attention = row if attention is None else (1 - trade) * attention + trade * row
    mean = module.norm(torch.cat([x[:, 1:], others], dim=1).mean(dim=1))
    return {"mean": mean, "cls": module.norm_cls(x[:, 0]), "last_block": x}


def _reverse(meta: Meta) -> nn.Module:
    ctor = meta["ctor"]
    return ReverseSlimming(ctor["dim"], ctor["keeped_patches"], ctor["recovered_patches"], ctor["ratio"])


def _projections(meta: Meta) -> nn.Module:
    """Shared projections, between which the training or the evaluation of a reduced network attends in its own way."""
    ctor = meta["ctor"]
    dim, heads = ctor["dim"], ctor["num_heads"]
    shape = Shape(dim=dim, heads=heads, head_dim=dim // heads, grid=None, tokens=meta["inputs"]["x"][1])
    return build_mixer((Atom("softmax", qkv_bias=ctor.get("qkv_bias", False)),), 1.0, shape)


def _heads(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return module.qkv(x).unflatten(2, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def _call_proportional(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    q, k, v = _heads(module, inputs["x"])
    size = inputs.get("size", torch.ones_like(inputs["x"][:, :, :1]))
    out = module.cores[0].attend_sized(q, k, v, size)
    return {"x": module.proj(out.transpose(1, 2).flatten(2)), "metric": k.mean(dim=1)}


def _call_masked(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    out = masked_attention(*_heads(module, inputs["x"]), inputs["policy"], meta["ctor"].get("qk_scale"))
    return {"": module.proj(out.transpose(1, 2).flatten(2))}


PREDICTOR = (
    ("in_conv.0.", "norm."), ("in_conv.1.", "entry."),
    ("out_conv.0.", "fc1."), ("out_conv.2.", "fc2."), ("out_conv.4.", "fc3."),
)  # fmt: skip


MAPS: dict[str, Adapter] = {
    "deformable_large_kernel": Adapter(build=_large_kernel, rename=_large_kernel_names, call=_call_large_kernel),
    "msg": Adapter(build=_messenger, rename=_messenger_names, call=_call_messenger),
    "carrier_tokens": Adapter(build=_carrier, rename=_carrier_names, call=_call_carrier),
    "evo_vit": Adapter(build=_evo, rename=_evo_names, call=_call_evo),
    "token_slimming_reverse": Adapter(build=_reverse, rename=renamed(), call=call_x),
    "tome_attention": Adapter(build=_projections, rename=renamed(), call=_call_proportional),
    "dynamicvit_attention": Adapter(build=_projections, rename=renamed(), call=_call_masked),
    "dynamicvit_predictor": Adapter(
        build=lambda meta: KeepPredictor(meta["ctor"]["embed_dim"]), rename=renamed(*PREDICTOR),
        call=lambda module, meta, inputs: {"": module(inputs["x"], inputs["policy"])},
    ),
}  # fmt: skip
