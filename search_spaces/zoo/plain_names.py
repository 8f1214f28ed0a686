"""Tensors of checkpoints of networks on one grid under our names: ViT and DeiT, XCiT, T2T-ViT."""

import re

import torch

from search_spaces.zoo.renaming import CLASSIFIER, INSIDE_BLOCKS, PLAIN_STEM, Tensors, renamed

T2T_HEAD = 64  # channels of a head in all of them


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


def t2t(state: Tensors) -> Tensors:
    """The authors divide their logits by the root of the whole width; in ours the queries hold what differs."""
    return renamed(
        _scaled_queries(state),
        (r"^tokens_to_token\.attention(\d)\.", lambda m: f"tokens_to_token.layers.{int(m[1]) - 1}."),
        (r"^(tokens_to_token\.layers\.\d\.)attn\.", r"\1"),
        (r"^(tokens_to_token\.layers\.\d\.)w$", r"\1directions"),
        (r"^(tokens_to_token\.layers\.\d\.mlp\.)0\.", r"\1fc1."),
        (r"^(tokens_to_token\.layers\.\d\.mlp\.)2\.", r"\1fc2."),
        (r"^tokens_to_token\.", "stem."),
        *((rf"^(blocks\..*){pattern}", rf"\1{ours}") for pattern, ours in INSIDE_BLOCKS),
        (r"^blocks\.", "stages.0.blocks."),
        (r"^cls_token$", "stages.0.cls_token.tokens"),
        (r"^pos_embed$", "stages.0.position.table"),
        CLASSIFIER,
        (r"^norm\.", "head.norm."),
    )


def _scaled_queries(state: Tensors) -> Tensors:
    """Rows of the queries times (T2T_HEAD / width)^0.5."""
    found = dict(state)
    for name in state:
        if re.search(r"^blocks\.\d+\.attn\.qkv\.(weight|bias)$", name):
            q, k, v = state[name].chunk(3)
            width = state[name.rpartition(".")[0] + ".weight"].shape[1]
            found[name] = torch.cat([q * (T2T_HEAD / width) ** 0.5, k, v])
    return found
