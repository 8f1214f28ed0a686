"""Tensors of published checkpoints under our names: one function per family, pure renaming, splitting and merging.

A checkpoint is recognised by a tensor that only its family has (`mark`), so that timm's files and the authors' own,
where they differ, are two entries of NAME_MAPS.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from nas.errors import UserError
from search_spaces.zoo.maxvit_names import by_stage
from search_spaces.zoo.renaming import CLASSIFIER, INSIDE_BLOCKS, PLAIN_STEM, Tensors, down, from_one, renamed


@dataclass(frozen=True, slots=True, kw_only=True)
class NameMap:
    """rename: a whole checkpoint under our names. mark: a regular expression that one of its tensors matches."""

    family: str
    source: str
    mark: str
    rename: Callable[[Tensors], Tensors]


def find_map(names: Iterable[str]) -> NameMap:
    """The map of the family whose checkpoints hold such tensors. Raises UserError when there is none."""
    known = list(names)
    for entry in NAME_MAPS:
        if any(re.search(entry.mark, name) for name in known):
            return entry
    families = ", ".join(dict.fromkeys(entry.family for entry in NAME_MAPS))
    first = f"such as {known[0]!r}" if known else "and holds no tensor"
    raise UserError(f"no published family has tensors {first}; families that can be read: {families}")


def vit(state: Tensors) -> Tensors:
    """ViT and DeiT. Both tokens of a distilled DeiT have positions; ours is part of the token."""
    merged = _distillation_token(state) if "dist_token" in state else state
    return renamed(
        merged,
        (r"^blocks\.", "stages.0.blocks."),
        *INSIDE_BLOCKS,
        PLAIN_STEM,
        (r"^cls_token$", "stages.0.cls_token.tokens"),
        (r"^(reg|dist)_token$", "stages.0.registers.tokens"),
        (r"^pos_embed$", "stages.0.position.table"),
        CLASSIFIER,
        (r"^head_dist\.", "head.fc_distilled."),
        (r"^norm\.", "head.norm."),
        (r"^fc_norm\.", "head.norm_after."),
    )


def _distillation_token(state: Tensors) -> Tensors:
    """Row 1 of the position table goes into the token that it is added to."""
    table = state["pos_embed"]
    without = torch.cat([table[:, :1], table[:, 2:]], dim=1)
    return {**state, "dist_token": state["dist_token"] + table[:, 1:2], "pos_embed": without}


def swin(state: Tensors) -> Tensors:
    """The authors' files keep a merging at the end of a stage, timm's at the start of the next."""
    return renamed(
        state,
        down(state, r"layers\.(\d+)\.downsample\."),
        (r"^layers\.", "stages."),
        *INSIDE_BLOCKS,
        PLAIN_STEM,
        CLASSIFIER,
        (r"^norm\.", "head.norm_before."),
    )


def pvt(state: Tensors) -> Tensors:
    """PVT and PVT v2 in the authors' names, which count stages from 1."""
    return renamed(
        state,
        (r"^patch_embed1\.", "stem."),
        from_one(r"^patch_embed(\d)\.norm\.", "stages.{}.down.norm_after."),
        from_one(r"^patch_embed(\d)\.", "stages.{}.down."),
        from_one(r"^pos_embed(\d)$", "stages.{}.position.table"),
        from_one(r"^block(\d)\.", "stages.{}.blocks."),
        from_one(r"^norm(\d)\.", "stages.{}.norm."),
        (r"^cls_token$", "stages.3.cls_token.tokens"),
        *INSIDE_BLOCKS,
        CLASSIFIER,
        (r"^norm\.", "head.norm."),
    )


def pvt_v2(state: Tensors) -> Tensors:
    """PVT v2 in timm's names."""
    return renamed(
        state,
        PLAIN_STEM,
        (r"\.downsample\.norm\.", ".down.norm_after."),
        (r"\.downsample\.", ".down."),
        *INSIDE_BLOCKS,
        CLASSIFIER,
    )


def twins(state: Tensors) -> Tensors:
    """Twins-SVT and Twins-PCPVT."""
    return renamed(
        state,
        (r"^patch_embeds\.0\.", "stem."),
        (r"^patch_embeds\.(\d+)\.norm\.", r"stages.\1.down.norm_after."),
        (r"^patch_embeds\.(\d+)\.", r"stages.\1.down."),
        (r"^pos_block\.(\d+)\.proj\.0\.", r"stages.\1.position_after.proj."),
        (r"^blocks\.(\d+)\.", r"stages.\1.blocks."),
        *INSIDE_BLOCKS,
        CLASSIFIER,
        (r"^norm\.", "head.norm_before."),
    )


def xcit(state: Tensors) -> Tensors:
    """The authors' class attention has one linear for q, k and v."""
    return renamed(
        _split_qkv(state),
        (r"^patch_embed\.proj\.(\d+)\.(\d)\.", lambda m: f"stem.layers.{int(m[1]) // 2 * 3 + int(m[2])}."),
        (r"^pos_embed(er)?\.", "stages.0.position."),
        (r"^cls_attn_blocks\.(\d+)\.mlp\.", r"head.blocks.\1."),
        (r"^cls_attn_blocks\.", "head.blocks."),
        (r"^cls_token$", "head.cls_token"),
        (r"^(blocks\.\d+\.)gamma(\d)$", r"\1ls\2.gamma"),
        (r"^(blocks\.\d+\.)local_mp\.", r"\1between."),
        *((rf"^(blocks\..*){pattern}", rf"\1{ours}") for pattern, ours in INSIDE_BLOCKS),
        (r"^blocks\.", "stages.0.blocks."),
        CLASSIFIER,
        (r"^norm\.", "head.norm."),
    )


def _split_qkv(state: Tensors) -> Tensors:
    """The linear of all three in a class attention -> one for each."""
    found: Tensors = {}
    for name, tensor in state.items():
        if re.search(r"^cls_attn_blocks\..*\.qkv\.", name):
            found |= {name.replace(".qkv.", f".{q}."): rows for q, rows in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            found[name] = tensor
    return found


def davit(state: Tensors) -> Tensors:
    """A spatial and a channel block under one number are two blocks of ours."""
    return renamed(
        state,
        (r"^stem\.conv\.", "stem.proj."),
        (r"\.blocks\.(\d+)\.(\d)\.", lambda m: f".blocks.{2 * int(m[1]) + int(m[2])}."),
        (r"\.downsample\.conv\.", ".down.proj."),
        (r"\.downsample\.norm\.", ".down.norm_before."),
        (r"\.cpe1\.", ".before."),
        (r"\.cpe2\.", ".before_ffn."),
        *INSIDE_BLOCKS,
        (r"^head\.norm\.", "head.norm_after."),
    )


def focalnet(state: Tensors) -> Tensors:
    """The authors' files keep a down-sampling at the end of a stage; norms before and after branches alike."""
    return renamed(
        state,
        down(state, r"layers\.(\d+)\.downsample\.norm\.", "norm_after."),
        down(state, r"layers\.(\d+)\.downsample\."),
        (r"^layers\.", "stages."),
        (r"\.norm(\d)_post\.", r".norm\1."),
        (r"\.gamma_(\d)$", r".ls\1.gamma"),
        (r"\.modulation\.focal_layers\.(\d+)\.0\.", r".mixer.contexts.\1."),
        (r"\.modulation\.ln\.", ".mixer.norm."),
        (r"\.modulation\.", ".mixer."),
        *INSIDE_BLOCKS,
        PLAIN_STEM,
        CLASSIFIER,
        (r"^norm\.", "head.norm_before."),
    )


def poolformer(state: Tensors) -> Tensors:
    """The authors number stages and the convolutions between them together."""
    numbers = sorted({int(name.split(".")[1]) for name in state if name.startswith("network.")})
    between = {n for n in numbers if f"network.{n}.proj.weight" in state}
    stages = {n: sum(m not in between for m in numbers if m < n) for n in numbers}
    return renamed(
        state,
        PLAIN_STEM,
        (r"^network\.(\d+)\.proj\.", lambda m: f"stages.{stages[int(m[1])]}.down.proj."),
        (r"^network\.(\d+)\.", lambda m: f"stages.{stages[int(m[1])]}.blocks."),
        (r"\.layer_scale_(\d)$", r".ls\1.gamma"),
        *INSIDE_BLOCKS,
        CLASSIFIER,
        (r"^norm\.", "head.norm_before."),
    )


def poolformer_timm(state: Tensors) -> Tensors:
    """timm norms after pooling, the authors before it."""
    return renamed(
        state,
        (r"^stem\.conv\.", "stem.proj."),
        (r"\.downsample\.conv\.", ".down.proj."),
        (r"\.layer_scale(\d)\.scale$", r".ls\1.gamma"),
        *INSIDE_BLOCKS,
        (r"^head\.norm\.", "head.norm_after."),
    )


def maxvit(state: Tensors) -> Tensors:
    """MaxViT and CoAtNet, whose blocks are stages of ours."""
    return renamed(
        by_stage(state),
        (r"^stem\.conv(\d)\.", r"stem.conv\1.conv."),
        (r"\.attn\.rel_pos\.", ".attn."),
        *INSIDE_BLOCKS,
        (r"^head\.norm\.", "head.norm_after."),
        (r"^head\.pre_logits\.", "head.hidden."),
        (r"^norm\.", "head.norm_before."),
    )


def metaformer(state: Tensors) -> Tensors:
    """MetaFormer baselines: pooling, separable convolutions or attention."""
    return renamed(
        state,
        (r"^stem\.conv\.", "stem.proj."),
        (r"\.downsample\.conv\.", ".down.proj."),
        (r"\.downsample\.norm\.", ".down.norm_before."),
        (r"\.token_mixer\.pwconv1\.", ".mixer.widen."),
        (r"\.token_mixer\.act1\.", ".mixer.act."),
        (r"\.token_mixer\.dwconv\.", ".mixer.depthwise."),
        (r"\.token_mixer\.pwconv2\.", ".mixer.narrow."),
        (r"\.token_mixer\.", ".mixer."),
        (r"\.res_scale(\d)\.scale$", r".rs\1.gamma"),
        *INSIDE_BLOCKS,
        (r"^head\.norm\.", "head.norm_after."),
        (r"^head\.fc\.fc1\.", "head.hidden.fc."),
        (r"^head\.fc\.norm\.", "head.hidden.norm."),
        (r"^head\.fc\.fc2\.", "head.fc."),
    )


def efficientformer(state: Tensors) -> Tensors:
    """Blocks of a stage on the map and those on tokens are two stages of ours; a flattening counts as a block there."""
    attend = sorted({m[0] for name in state if (m := re.match(r"stages\.\d+\.blocks\.\d+\.(?=token_mixer)", name))})
    last = re.match(r"stages\.(\d+)\.", attend[0]) if attend else None
    has_map = last is not None and f"{last[0]}blocks.0.mlp.norm1.weight" in state
    ours = {b: f"stages.{int(b.split('.')[1]) + has_map}.blocks.{j}." for j, b in enumerate(attend)}
    return renamed(
        {ours.get(_block(name), _block(name)) + name.removeprefix(_block(name)): t for name, t in state.items()},
        (r"^stem\.(conv|norm)(\d)\.", lambda m: f"stem.layers.{3 * int(m[2]) - 3 + (m[1] == 'norm')}."),
        (r"\.downsample\.conv\.", ".down.proj."),
        (r"\.downsample\.norm\.", ".down.batch_norm."),
        (r"\.token_mixer\.attention_biases$", ".mixer.table"),
        (r"\.token_mixer\.", ".mixer."),
        *INSIDE_BLOCKS,
        CLASSIFIER,
        (r"^head_dist\.", "head.fc_distilled."),
        (r"^norm\.", "head.norm_before."),
    )


def _block(name: str) -> str:
    match = re.match(r"stages\.\d+\.blocks\.\d+\.", name)
    return match[0] if match else ""


NAME_MAPS = (
    NameMap(family="XCiT", source="timm, authors", mark=r"^cls_attn_blocks\.", rename=xcit),
    NameMap(family="ViT and DeiT", source="timm, authors", mark=r"^blocks\.0\.attn\.qkv\.weight$", rename=vit),
    NameMap(family="Swin", source="timm, authors", mark=r"^layers\.0\..*\.relative_position_bias_table$", rename=swin),
    NameMap(family="PVT and PVT v2", source="authors", mark=r"^patch_embed1\.proj\.weight$", rename=pvt),
    NameMap(family="PVT v2", source="timm", mark=r"^stages\.0\.blocks\.0\.attn\.q\.weight$", rename=pvt_v2),
    NameMap(family="Twins", source="timm, authors", mark=r"^pos_block\.0\.proj\.0\.weight$", rename=twins),
    NameMap(family="DaViT", source="timm", mark=r"^stages\.0\.blocks\.0\.0\.cpe1\.proj\.weight$", rename=davit),
    NameMap(
        family="FocalNet",
        source="timm, authors",
        mark=r"^layers\.0\.blocks\.0\.modulation\.f\.weight$",
        rename=focalnet,
    ),
    NameMap(family="PoolFormer", source="authors", mark=r"^network\.0\.0\.layer_scale_1$", rename=poolformer),
    NameMap(family="PoolFormer", source="timm", mark=r"\.layer_scale1\.scale$", rename=poolformer_timm),
    NameMap(family="EfficientFormer", source="timm", mark=r"\.token_mixer\.attention_biases$", rename=efficientformer),
    NameMap(family="MetaFormer baselines", source="timm", mark=r"\.mlp\.act\.scale$", rename=metaformer),
    NameMap(family="MaxViT and CoAtNet", source="timm", mark=r"^stages\.0\.blocks\.0\..*conv1_1x1\.", rename=maxvit),
)
