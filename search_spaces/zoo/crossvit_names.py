"""Tensors of CrossViT, timm's and the authors', which are one, under our names."""

import re

from search_spaces.zoo.renaming import INSIDE_BLOCKS, Rule, Tensors, renamed

IDLE = r"fusion\.\d\.[1-9]\d*\.attn\.w[qk]\."  # queries and keys of a token that is alone


def crossvit(state: Tensors) -> Tensors:
    """Branches are numbered 0 and 1 there, a and b here."""
    return renamed(
        without_idle(state),
        (r"^patch_embed\.(\d)\.proj\.(?=\d)", lambda m: f"stem.{branch(m[1])}.stem.layers."),
        (r"^patch_embed\.(\d)\.", lambda m: f"stem.{branch(m[1])}.stem."),
        (r"^cls_token_(\d)$", lambda m: f"stem.{branch(m[1])}.cls_token.tokens"),
        (r"^pos_embed_(\d)$", lambda m: f"stem.{branch(m[1])}.position.table"),
        (r"^norm\.(\d)\.", lambda m: f"head.{branch(m[1])}.norm."),
        (r"^head\.(\d)\.", lambda m: f"head.{branch(m[1])}.fc."),
        (r"^blocks\.", "stages."),
        *INSIDE_STAGES,
    )


def without_idle(state: Tensors) -> Tensors:
    return {name: tensor for name, tensor in state.items() if not re.search(IDLE, name)}


def branch(number: str) -> str:
    return "ab"[int(number)]


def _reading(match: re.Match[str]) -> str:
    """The first step of a visit reads, the further ones have the class token alone."""
    step = int(match[2] or 0)
    return f"fusion.{branch(match[1])}." + (f"alone.{step - 1}." if step else "read.")


INSIDE_STAGES: tuple[Rule, ...] = (
    (r"\bblocks\.(\d)\.(?=\d)", lambda m: f"{branch(m[1])}.blocks."),
    *INSIDE_BLOCKS,
    (r"\bprojs\.(\d)\.0\.", lambda m: f"fusion.{branch(m[1])}.there.norm."),
    (r"\bprojs\.(\d)\.2\.", lambda m: f"fusion.{branch(m[1])}.there.fc."),
    (r"\brevert_projs\.(\d)\.0\.", lambda m: f"fusion.{branch(m[1])}.back.norm."),
    (r"\brevert_projs\.(\d)\.2\.", lambda m: f"fusion.{branch(m[1])}.back.fc."),
    (r"\bfusion\.(\d)\.(?:(\d+)\.)?", _reading),
    (r"(alone\.\d+\.|read\.)norm1\.", r"\1norm."),
    (r"(alone\.\d+\.)mixer\.w?", r"\1"),
    (r"read\.mixer\.w?", "read.attn."),
)
