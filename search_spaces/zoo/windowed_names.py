"""Tensors of checkpoints of CSWin, Shuffle and DAT under our names."""

import re

import torch

from search_spaces.zoo.renaming import CLASSIFIER, INSIDE_BLOCKS, Tensors, from_one, renamed

SHUFFLED_NORMS = {"1": 1, "2": 3, "3": 2}  # of a block of Shuffle: in front of mixer, convolution, feed-forward


def cswin(state: Tensors) -> Tensors:
    return renamed(
        state,
        (r"^stage1_conv_embed\.0\.", "stem.proj."),
        (r"^stage1_conv_embed\.2\.", "stem.norm."),
        (r"^merge(\d)\.conv\.", r"stages.\1.down.proj."),
        (r"^merge(\d)\.norm\.", r"stages.\1.down.norm_after."),
        (r"\.attns\.(\d)\.get_v\.", r".mixer.cores.\1.local."),
        (r"^(stage\d\.\d+\.)(qkv|proj)\.", r"\1mixer.\2."),
        (r"\.mlp\.", ".ffn."),
        from_one(r"^stage(\d)\.", "stages.{}.blocks."),
        CLASSIFIER,
        (r"^norm\.", "head.norm_before."),
    )


def shuffle(state: Tensors) -> Tensors:
    """Blocks come in pairs. The authors number a block's norms in order; ours for the feed-forward is the second."""
    return renamed(
        state,
        (r"^to_token\.conv(\d)\.0\.", r"stem.conv\1."),
        (r"^to_token\.conv(\d)\.1\.", r"stem.norm\1."),
        (r"^to_token\.conv3\.", "stem.proj."),
        (r"\.patch_partition\.norm\.", ".down.batch_before."),
        (r"\.patch_partition\.reduction\.", ".down.proj."),
        (r"\.layers\.(\d+)\.(\d)\.", lambda m: f".blocks.{2 * int(m[1]) + int(m[2])}."),
        (r"(\.blocks\.\d+\.norm)(\d)\.", lambda m: f"{m[1]}{SHUFFLED_NORMS[m[2]]}.norm."),
        (r"\.local\.", ".between.conv."),
        (r"\.attn\.to_qkv\.", ".attn.qkv."),
        *INSIDE_BLOCKS,
        from_one(r"^stage(\d)\.", "stages.{}."),
        CLASSIFIER,
    )


def dat(state: Tensors) -> Tensors:
    """Norms, mixers and feed-forwards of a stage are three lists; a block has two of the norms."""
    return renamed(
        _joined_keys_and_values(state),
        (r"^patch_proj\.0\.", "stem.proj."),
        (r"^patch_proj\.1\.norm\.", "stem.norm."),
        (r"^down_projs\.(\d)\.0\.", lambda m: f"stages.{int(m[1]) + 1}.down.proj."),
        (r"^down_projs\.(\d)\.1\.norm\.", lambda m: f"stages.{int(m[1]) + 1}.down.norm_after."),
        (r"\.layer_norms\.(\d+)\.norm\.", lambda m: f".blocks.{int(m[1]) // 2}.norm{int(m[1]) % 2 + 1}."),
        (r"\.mlps\.(\d+)\.chunk\.linear(\d)\.", r".blocks.\1.ffn.fc\2."),
        (r"\.attns\.(\d+)\.", r".blocks.\1.attn."),
        (r"\.attn\.conv_offset\.0\.", ".mixer.points.depthwise."),
        (r"\.attn\.conv_offset\.1\.norm\.", ".mixer.points.norm."),
        (r"\.attn\.conv_offset\.3\.", ".mixer.points.offset."),
        (r"\.attn\.rpe_table$", ".mixer.table.weight"),
        (r"\.attn\.proj_(qkv|q|kv)\.", r".mixer.\1."),
        (r"\.attn\.proj_out\.", ".mixer.proj."),
        *INSIDE_BLOCKS,
        (r"^cls_norm\.norm\.", "head.norm_before."),
        (r"^cls_head\.", "head.fc."),
        join_qkv=False,
    )


def _joined_keys_and_values(state: Tensors) -> Tensors:
    """The projections of deformable attention's keys and of its values, one behind the other."""
    found = {name: tensor for name, tensor in state.items() if not re.search(r"\.proj_[kv]\.", name)}
    for name, tensor in state.items():
        if ".proj_k." in name:
            found[name.replace(".proj_k.", ".proj_kv.")] = torch.cat([tensor, state[name.replace("_k.", "_v.")]])
    return found
