"""Name maps for the authors' modules of channel, focal, pooling and token-reduction mechanisms, and of the parts."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from search_spaces.downsamplers.merge import PatchMerging
from search_spaces.ffn.mix import MixFeedForward
from search_spaces.ffn.mlp import Mlp
from search_spaces.heads.class_attention import ClassAttention
from search_spaces.layer import to_map, to_tokens
from search_spaces.locals.interaction import LocalPatchInteraction
from search_spaces.locals.perception import ConditionalEncoding
from search_spaces.mixers import MIXERS, Attention
from search_spaces.mixers.focal import FocalModulation
from search_spaces.mixers.pooling import Pooling
from search_spaces.mixers.token_statistics import TokenStatistics
from search_spaces.model import Block
from search_spaces.positions.conditional import ConditionalPosition
from search_spaces.reducers.slimming import TokenSlimming
from search_spaces.reducers.tome import bipartite_merge
from tests.oracles.adapter import Adapter, Meta, Tensors


def call_x(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    return {"": module(inputs["x"])}


def renamed(*pairs: tuple[str, str]) -> Callable[[Meta, Tensors], Tensors]:
    """Replaces the first prefix that fits; other names stay."""

    def rename(meta: Meta, tensors: Tensors) -> Tensors:
        return {_swap(name, pairs): value for name, value in tensors.items()}

    return rename


def _swap(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in pairs:
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return name


def _heads(meta: Meta, kind: str, grid: tuple[int, int] | None = None, **params: object) -> Attention:
    dim, heads = meta["ctor"]["dim"], meta["ctor"]["num_heads"]
    core = MIXERS[kind](dim=dim, num_heads=heads, head_dim=dim // heads, grid=grid, **params)
    return Attention(dim, heads, [core], (heads,), qkv_bias=meta["ctor"].get("qkv_bias", False))


def _xcit_block(meta: Meta) -> Block:
    ctor, dim = meta["ctor"], meta["ctor"]["dim"]
    return Block(
        before=None, norm1=nn.LayerNorm(dim), mixer=_heads(meta, "cross_covariance"),
        norm3=nn.LayerNorm(dim), between=_interaction(dim, meta),
        before_ffn=None, norm2=nn.LayerNorm(dim), ffn=Mlp(dim, None, ctor["mlp_ratio"]),
        dim=dim, layer_scale=ctor["eta"], drop_path=0.0,
    )  # fmt: skip


def _interaction(dim: int, meta: Meta) -> LocalPatchInteraction:
    return LocalPatchInteraction(dim, tuple(meta["grid"]), meta["ctor"].get("kernel_size", 3))


def _davit_block(meta: Meta, mixer: nn.Module) -> Block:
    ctor, dim, grid = meta["ctor"], meta["ctor"]["dim"], tuple(meta["grid"])
    feeds = ctor.get("ffn", True)
    return Block(
        before=ConditionalEncoding(dim, grid), norm1=nn.LayerNorm(dim), mixer=mixer, norm3=None, between=None,
        before_ffn=ConditionalEncoding(dim, grid), norm2=nn.LayerNorm(dim) if feeds else None,
        ffn=Mlp(dim, None, ctor["mlp_ratio"]) if feeds else None, dim=dim, layer_scale=None, drop_path=0.0,
    )  # fmt: skip


def _davit_channel(meta: Meta) -> Block:
    return _davit_block(meta, _heads(meta, "channel_groups", scale="channels"))


def _davit_spatial(meta: Meta) -> Block:
    window, grid = meta["ctor"]["window_size"], tuple(meta["grid"])
    return _davit_block(meta, _heads(meta, "window", grid, window=window, position_bias=False, pads="tokens"))


DAVIT_NAMES = renamed(("attn.", "mixer."), ("mlp.", "ffn."), ("cpe.0.", "before."), ("cpe.1.", "before_ffn."))


def _class_attention(meta: Meta) -> ClassAttention:
    ctor = meta["ctor"]
    module = ClassAttention(ctor["dim"], ctor["num_heads"], qkv_bias=ctor.get("qkv_bias", False))
    module.scale = ctor.get("qk_scale", module.scale)
    return module


def _split_qkv(meta: Meta, tensors: Tensors) -> Tensors:
    ours = {}
    for name, value in tensors.items():
        if name.startswith("qkv."):
            ours |= {f"{part}.{name[4:]}": rows for part, rows in zip("qkv", value.chunk(3), strict=True)}
        else:
            ours[name] = value
    return ours


def _call_class_attention(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    return {"": torch.cat([module(inputs["x"]), inputs["x"][:, 1:]], dim=1)}


def _focal(meta: Meta) -> FocalModulation:
    ctor = meta["ctor"]
    return FocalModulation(
        ctor["dim"], 1, tuple(meta["grid"]), levels=ctor["focal_level"], window=ctor["focal_window"],
        factor=ctor.get("focal_factor", 2), bias=ctor.get("bias", True),
        normalize=ctor.get("normalize_modulator", False), post_norm=ctor.get("use_postln_in_modulation", False),
    )  # fmt: skip


def _focal_names(meta: Meta, tensors: Tensors) -> Tensors:
    """Convolution levels lose their inner index; the 1×1 convolution h is a linear layer here."""
    names = {f"focal_layers.{i}.0.weight": f"contexts.{i}.weight" for i in range(meta["ctor"]["focal_level"])}
    flat = {n: t.flatten(1) if n == "h.weight" else t for n, t in tensors.items()}
    return {names.get(n, n.replace("ln.", "norm.")): t for n, t in flat.items()}


def _call_channels_last(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    return {"": module(inputs["x"].flatten(1, 2)).unflatten(1, meta["grid"])}


def _call_map(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    tokens = inputs["x"].flatten(2).transpose(1, 2)
    return {"": module(tokens).transpose(1, 2).unflatten(2, meta["grid"])}


def _mix_ffn(meta: Meta) -> MixFeedForward:
    dim, hidden = meta["ctor"]["c1"], meta["ctor"]["c2"]
    return MixFeedForward(dim, tuple(meta["grid"]), ratio=hidden / dim)


def _shunted_ffn(meta: Meta) -> MixFeedForward:
    ctor, dim = meta["ctor"], meta["ctor"]["in_features"]
    module = MixFeedForward(dim, tuple(meta["grid"]), ratio=ctor["hidden_features"] / dim, skip=True)
    module.fc2 = nn.Linear(ctor["hidden_features"], ctor.get("out_features", dim))
    return module


def _conditional(meta: Meta) -> ConditionalPosition:
    module = ConditionalPosition(meta["ctor"]["embed_dim"], tuple(meta["grid"]), prefix=0)
    module.proj.stride = (meta["ctor"].get("s", 1),) * 2
    return module


def _call_conditional(module: ConditionalPosition, meta: Meta, inputs: Tensors) -> Tensors:
    """The authors' strided form is the convolution alone."""
    if module.proj.stride == (1, 1):
        return call_x(module, meta, inputs)
    return {"": to_tokens(module.proj(to_map(inputs["x"], tuple(meta["grid"]))))}


def _merging(meta: Meta) -> PatchMerging:
    return PatchMerging(meta["ctor"]["dim"], 2 * meta["ctor"]["dim"], tuple(meta["grid"]))


def _statistics_names(meta: Meta, tensors: Tensors) -> Tensors:
    return renamed(("qkv.", "basis."), ("temp", "temperature"), ("to_out.0.", "proj."))(meta, tensors)


def _statistics(meta: Meta) -> TokenStatistics:
    ctor = meta["ctor"]
    return TokenStatistics(ctor["dim"], ctor["num_heads"], None, bias=ctor.get("qkv_bias", False))


def _slimming(meta: Meta) -> TokenSlimming:
    ctor, tokens = meta["ctor"], meta["inputs"]["x"][1]
    keep = (ctor["keeped_patches"] + 0.5) / tokens
    return TokenSlimming(ctor["dim"], tokens, 0, keep=keep, hidden=ctor.get("ratio", 0.5))


def _slimming_names(meta: Meta, tensors: Tensors) -> Tensors:
    names = renamed(("weight.0.", "norm."), ("weight.1.", "fc1."), ("weight.3.", "fc2."))(meta, tensors)
    return {n: t.flatten() if n == "scale" else t for n, t in names.items()}


def _call_merge(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    ctor, x, metric = meta["ctor"], inputs["x"], inputs["metric"]
    size = inputs.get("size", x.new_ones(*x.shape[:2], 1))
    protected = int(ctor["class_token"]) + int(ctor["distill_token"])
    merged, total, rows = bipartite_merge(metric, x, size, ctor["r"], protected)
    source = torch.zeros(x.shape[0], merged.shape[1], x.shape[1]).scatter(1, rows.unsqueeze(1), 1.0)
    unmerged = merged.gather(1, rows.unsqueeze(2).expand_as(x))
    if not ctor["class_token"]:
        order = _order_of_score(metric, rows, merged.shape[1])
        merged, total, source = (t.gather(1, order.unsqueeze(2).expand_as(t)) for t in (merged, total, source))
    outputs = {"x": merged, "size": total, "source": source.to(torch.uint8), "unmerged": unmerged}
    return {name: value for name, value in outputs.items() if f"output.{name}" in meta["outputs"]}


def _order_of_score(metric: Tensor, rows: Tensor, kept: int) -> Tensor:
    """Without a class token the authors leave the unmerged tokens in the order of their scores; ours stay in place."""
    unit = metric / metric.norm(dim=2, keepdim=True)
    best = (unit[:, ::2] @ unit[:, 1::2].transpose(1, 2)).max(dim=2).values
    unmerged = kept - unit[:, 1::2].shape[1]
    front = rows[:, ::2].gather(1, best.argsort(dim=1, descending=True)[:, best.shape[1] - unmerged :])
    return torch.cat([front, torch.arange(unmerged, kept).expand(rows.shape[0], -1)], dim=1)


MAPS: dict[str, Adapter] = {
    "cross_covariance": Adapter(
        build=lambda meta: _heads(meta, "cross_covariance"),
        rename=renamed(("temperature", "cores.0.temperature")),
        call=call_x,
    ),
    "local_patch_interaction": Adapter(
        build=lambda meta: _interaction(meta["ctor"]["in_features"], meta),
        rename=renamed(),
        call=call_x,
    ),
    "xcit_block": Adapter(
        build=_xcit_block,
        rename=renamed(
            ("attn.temperature", "mixer.cores.0.temperature"),
            ("attn.", "mixer."),
            ("local_mp.", "between."),
            ("mlp.", "ffn."),
            ("gamma1", "ls1.gamma"),
            ("gamma2", "ls2.gamma"),
            ("gamma3", "ls3.gamma"),
        ),
        call=call_x,
    ),
    "class_attention": Adapter(build=_class_attention, rename=_split_qkv, call=_call_class_attention),
    "token_statistics": Adapter(build=_statistics, rename=_statistics_names, call=call_x),
    "focal_modulation": Adapter(build=_focal, rename=_focal_names, call=_call_channels_last),
    "dual_channel_group": Adapter(
        build=lambda meta: _heads(meta, "channel_groups", scale="channels"), rename=renamed(), call=call_x
    ),
    "davit_channel_block": Adapter(build=_davit_channel, rename=DAVIT_NAMES, call=call_x),
    "davit_spatial_block": Adapter(build=_davit_spatial, rename=DAVIT_NAMES, call=call_x),
    "pooling": Adapter(
        build=lambda meta: Pooling(1, 1, tuple(meta["grid"]), kernel=meta["ctor"]["pool_size"]),
        rename=renamed(),
        call=_call_map,
    ),
    "mix_ffn": Adapter(build=_mix_ffn, rename=renamed(("dwconv.dwconv.", "dwconv.")), call=call_x),
    "shunted_ffn": Adapter(build=_shunted_ffn, rename=renamed(("dwconv.dwconv.", "dwconv.")), call=call_x),
    "conditional_position": Adapter(build=_conditional, rename=renamed(("proj.0.", "proj.")), call=_call_conditional),
    "patch_merging": Adapter(build=_merging, rename=renamed(), call=call_x),
    "tome_merge": Adapter(build=lambda meta: nn.Identity(), rename=renamed(), call=_call_merge),
    "token_slimming": Adapter(build=_slimming, rename=_slimming_names, call=call_x),
}
