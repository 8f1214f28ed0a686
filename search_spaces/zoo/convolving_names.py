"""Tensors of checkpoints of VAN, CvT and CMT under our names."""

from search_spaces.zoo.renaming import CLASSIFIER, INSIDE_BLOCKS, Tensors, from_one, renamed

STAGES_OF_CMT = "abcd"  # ours count from 1, behind an empty one for the stem


def van(state: Tensors) -> Tensors:
    return renamed(
        state,
        (r"^patch_embed1\.proj\.", "stem.proj."),
        (r"^patch_embed1\.norm\.", "stem.batch_norm."),
        from_one(r"^patch_embed(\d)\.proj\.", "stages.{}.down.proj."),
        from_one(r"^patch_embed(\d)\.norm\.", "stages.{}.down.batch_norm."),
        from_one(r"^norm(\d)\.", "stages.{}.norm."),
        (r"^(block\d\.\d+\.norm\d)\.", r"\1.norm."),
        from_one(r"^block(\d)\.", "stages.{}.blocks."),
        (r"\.layer_scale_(\d)$", r".ls\1.gamma"),
        (r"\.attn\.proj_1\.", ".mixer.f."),
        (r"\.attn\.proj_2\.", ".mixer.proj."),
        (r"\.attn\.spatial_gating_unit\.conv0\.", ".mixer.near."),
        (r"\.attn\.spatial_gating_unit\.conv_spatial\.", ".mixer.far."),
        (r"\.attn\.spatial_gating_unit\.conv1\.", ".mixer.gate."),
        *INSIDE_BLOCKS,
        CLASSIFIER,
    )


def cvt(state: Tensors) -> Tensors:
    return renamed(
        state,
        (r"^stage0\.patch_embed\.", "stem."),
        (r"^stage(\d)\.patch_embed\.proj\.", r"stages.\1.down.proj."),
        (r"^stage(\d)\.patch_embed\.norm\.", r"stages.\1.down.norm_after."),
        (r"^stage(\d)\.cls_token$", r"stages.\1.cls_token.tokens"),
        (r"^stage(\d)\.", r"stages.\1."),
        (r"\.attn\.conv_proj_([qkv])\.conv\.", r".mixer.local_\1.conv."),
        (r"\.attn\.conv_proj_([qkv])\.bn\.", r".mixer.local_\1.norm."),
        (r"\.attn\.proj_([qkv])\.", r".mixer.\1."),
        *INSIDE_BLOCKS,
        CLASSIFIER,
        (r"^norm\.", "head.norm."),
        join_qkv=False,
    )


def cmt(state: Tensors) -> Tensors:
    """The table of positions that the blocks of a stage share is the first one's."""
    return renamed(
        state,
        (r"^stem_(conv|norm)(\d)\.", r"stem.\1\2."),
        (r"^patch_embed_([a-d])\.proj\.", lambda m: f"{_stage(m[1])}down.proj."),
        (r"^patch_embed_([a-d])\.norm\.", lambda m: f"{_stage(m[1])}down.norm_after."),
        (r"^relative_pos_([a-d])$", lambda m: f"{_stage(m[1])}blocks.0.mixer.position_bias"),
        (r"^(blocks_[a-d]\.\d+\.)proj\.", r"\1before.proj."),
        (r"^blocks_([a-d])\.", lambda m: f"{_stage(m[1])}blocks."),
        (r"\.attn\.sr\.0\.", ".mixer.reduce."),
        (r"\.attn\.sr\.1\.", ".mixer.norm."),
        (r"\.attn\.", ".mixer."),
        (r"\.mlp\.conv(\d)\.0\.", r".ffn.fc\1."),
        (r"\.mlp\.conv1\.2\.", ".ffn.norm1."),
        (r"\.mlp\.conv2\.1\.", ".ffn.norm3."),
        (r"\.mlp\.proj\.", ".ffn.dwconv."),
        (r"\.mlp\.proj_bn\.", ".ffn.norm2."),
        (r"^_fc\.", "head.hidden."),
        (r"^_bn\.", "head.norm."),
        CLASSIFIER,
        join_qkv=False,
    )


def _stage(letter: str) -> str:
    return f"stages.{STAGES_OF_CMT.index(letter) + 1}."
