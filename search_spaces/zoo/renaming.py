"""How a checkpoint's tensors are renamed: rules in order, and what transformer blocks of most families share."""

import re
from collections.abc import Callable

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Rule = tuple[str, str | Callable[[re.Match[str]], str]]

UNUSED = r"relative_position_index$|attn_mask$|num_batches_tracked$"  # derived from sizes, or counters of training
LINEAR = (
    r"\.(ffn|gate)\.fc\d\.|\.mixer\.(f|h|q|kv|gate|widen|narrow)\.|\.(mixer|down)\.(qkv|proj)\."
    r"|\.token_projection\.|\.points\.offset\.|^head\.hidden\."  # where 1×1
)


def renamed(state: Tensors, *rules: Rule, join_qkv: bool = True) -> Tensors:
    """Every name through all rules in order; 1×1 convolutions become linear where ours are.

    join_qkv: a mixer's q and kv become the one linear of our shared projections.
    """
    found = {}
    for name, tensor in state.items():
        if re.search(UNUSED, name):
            continue
        for pattern, ours in rules:
            name = re.sub(pattern, ours, name)
        found[name] = tensor.flatten(1) if tensor.shape[2:] == (1, 1) and re.search(LINEAR, name) else tensor
    return _joined_qkv(found) if join_qkv else found


def _joined_qkv(state: Tensors) -> Tensors:
    """q (C rows) and kv (2C rows) of a mixer -> qkv (3C rows)."""
    joined = dict(state)
    for name in state:
        if re.search(r"\.mixer\.q\.", name):
            parts = joined.pop(name), joined.pop(name.replace(".mixer.q.", ".mixer.kv."))
            joined[name.replace(".mixer.q.", ".mixer.qkv.")] = torch.cat(parts)
    return joined


def from_one(pattern: str, ours: str) -> Rule:
    """A rule for a stage number `{}`, which in the pattern counts from 1 and in ours from 0."""
    return pattern, lambda match: ours.format(int(match[1]) - 1)


def down(state: Tensors, pattern: str, part: str = "") -> Rule:
    """A rule for what leads from stage to stage, kept with the stage before it or, as ours, with the one behind it."""
    step = 1 if any(name.startswith("layers.0.downsample.") for name in state) else 0
    return pattern, lambda match: f"stages.{int(match[1]) + step}.down.{part}"


INSIDE_BLOCKS: tuple[Rule, ...] = (
    (r"\.attn\.relative_position_bias_table$", ".mixer.cores.0.table"),
    (r"\.attn\.temperature$", ".mixer.cores.0.temperature"),
    (r"\.attn\.sr\.", ".mixer.cores.0.coarse.conv."),
    (r"\.attn\.norm\.", ".mixer.cores.0.coarse.norm."),
    (r"\.attn\.", ".mixer."),
    (r"\.mlp\.dwconv\.(dwconv\.)?", ".ffn.dwconv."),
    (r"\.mlp\.", ".ffn."),
)
CLASSIFIER: Rule = (r"^head\.(?=weight|bias)", "head.fc.")
PLAIN_STEM: Rule = (r"^patch_embed\.", "stem.")
