"""Tensors of published checkpoints under our names: one function per family, pure renaming, splitting and merging.

A checkpoint is recognised by a tensor that only its family has (`mark`), so that timm's files and the authors' own,
where they differ, are two entries of NAME_MAPS.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nas.errors import UserError
from search_spaces.zoo.convolving_names import cmt, cvt, van
from search_spaces.zoo.crossvit_names import crossvit
from search_spaces.zoo.maxvit_names import by_stage
from search_spaces.zoo.plain_names import t2t, vit, xcit
from search_spaces.zoo.renaming import CLASSIFIER, INSIDE_BLOCKS, PLAIN_STEM, Tensors, down, from_one, renamed
from search_spaces.zoo.windowed_names import cswin, dat, shuffle


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
    NameMap(family="CrossViT", source="timm, authors", mark=r"^pos_embed_1$", rename=crossvit),
    NameMap(family="T2T-ViT", source="authors", mark=r"^tokens_to_token\.project\.weight$", rename=t2t),
    NameMap(family="XCiT", source="timm, authors", mark=r"^cls_attn_blocks\.", rename=xcit),
    NameMap(family="ViT and DeiT", source="timm, authors", mark=r"^blocks\.0\.attn\.qkv\.weight$", rename=vit),
    NameMap(family="Swin", source="timm, authors", mark=r"^layers\.0\..*\.relative_position_bias_table$", rename=swin),
    NameMap(family="VAN", source="authors", mark=r"\.attn\.spatial_gating_unit\.conv0\.weight$", rename=van),
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
    NameMap(family="CSWin", source="authors", mark=r"^stage1_conv_embed\.0\.weight$", rename=cswin),
    NameMap(family="Shuffle", source="authors", mark=r"^to_token\.conv1\.0\.weight$", rename=shuffle),
    NameMap(family="DAT", source="authors", mark=r"^patch_proj\.0\.weight$", rename=dat),
    NameMap(family="CvT", source="authors", mark=r"\.attn\.conv_proj_q\.conv\.weight$", rename=cvt),
    NameMap(family="CMT", source="authors", mark=r"^relative_pos_a$", rename=cmt),
)
