"""What the authors of published networks call our tensors: small networks of a family and rules for their names."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nas.genotype import Genotype
from search_spaces.model import Network, build
from search_spaces.zoo import convolving, plain, windowed

Tensors = dict[str, Tensor]
ORDINARY = (
    (r"\.mixer\.cores\.0\.table$", ".attn.relative_position_bias_table"), (r"\.mixer\.", ".attn."),
    (r"\.ffn\.", ".mlp."), (r"^head\.norm_before\.", "norm."), (r"^head\.norm\.", "norm."), (r"^head\.fc\.", "head."),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """edit: what the authors keep in another form, after renaming. size: of the images.

    logits: what the authors' code gives for `weighted` and `image`, recorded once.
    """

    genotype: Genotype
    logits: tuple[float, ...]
    names: Any
    edit: Callable[[Tensors], Tensors] = lambda state: state
    size: int = 32


def weighted(family: Family) -> Network:
    """The network in evaluation mode, every parameter and every mean and variance of a batch norm drawn."""
    network, generator = build(family.genotype, image_size=family.size, classes=5), torch.Generator().manual_seed(5)
    for name, tensor in network.state_dict().items():
        drawn = torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        scale = 0.2 if tensor.dim() < 2 else min(0.4, tensor[0].numel() ** -0.5)
        start = 1.0 if tensor.dim() == 1 and name.endswith(("weight", "running_var", "gamma")) else 0.0
        tensor.copy_((start + scale * drawn).abs() if name.endswith("running_var") else start + scale * drawn)
    return network.eval()


def image(family: Family) -> Tensor:
    return torch.randn(1, 3, family.size, family.size, generator=torch.Generator().manual_seed(6))


def as_maps(*layers: str) -> Callable[[Tensors], Tensors]:
    """Linear layers as the 1×1 convolutions that the authors use."""
    pattern = re.compile(rf"({'|'.join(layers)})\.weight$")
    return lambda state: {n: t[..., None, None] if pattern.search(n) else t for n, t in state.items()}


def t2t_edit(state: Tensors) -> Tensors:
    """Two heads of 64: the authors divide by the root of 128, so their queries are larger than ours by √2."""
    scale = torch.cat([torch.full((128,), 2**0.5), torch.ones(256)])[:, None]
    return {n: t * scale if n.startswith("blocks.") and n.endswith(".qkv.weight") else t for n, t in state.items()}


def dat_edit(state: Tensors) -> Tensors:
    found = as_maps("proj_q", "proj_kv", r"stages\.3\.attns\.1\.proj_out", r"conv_offset\.3")(state)
    for name in [name for name in found if ".proj_kv." in name]:
        k, v = found.pop(name).chunk(2)
        found |= {name.replace("_kv.", "_k."): k, name.replace("_kv.", "_v."): v}
    return found


T2T = (
    (r"^stem\.layers\.(\d)\.", lambda m: f"tokens_to_token.attention{int(m[1]) + 1}."), (r"\.directions$", ".w"),
    (r"^(tokens_to_token\..*)mlp\.fc(\d)", lambda m: f"{m[1]}mlp.{2 * int(m[2]) - 2}"),
    (r"^stem\.", "tokens_to_token."), (r"^stages\.0\.position\.table$", "pos_embed"),
    (r"^stages\.0\.cls_token\.tokens$", "cls_token"), (r"^stages\.0\.", ""), *ORDINARY,
)  # fmt: skip
CSWIN = (
    (r"^stem\.proj\.", "stage1_conv_embed.0."), (r"^stem\.norm\.", "stage1_conv_embed.2."),
    (r"^stages\.(\d)\.down\.proj\.", r"merge\1.conv."), (r"^stages\.(\d)\.down\.norm_after\.", r"merge\1.norm."),
    (r"^stages\.(\d)\.blocks\.", lambda m: f"stage{int(m[1]) + 1}."),
    (r"\.mixer\.cores\.(\d)\.local\.", r".attns.\1.get_v."), (r"\.mixer\.", "."), *ORDINARY,
)  # fmt: skip
SHUFFLE = (
    (r"^stem\.conv(\d)\.", r"to_token.conv\1.0."), (r"^stem\.norm(\d)\.", r"to_token.conv\1.1."),
    (r"^stem\.proj\.", "to_token.conv3."), (r"\.down\.batch_before\.", ".patch_partition.norm."),
    (r"\.down\.proj\.", ".patch_partition.reduction."), (r"\.norm2\.norm\.", ".norm_last."),
    (r"\.norm3\.norm\.", ".norm2."), (r"\.norm1\.norm\.", ".norm1."), (r"\.norm_last\.", ".norm3."),
    (r"\.blocks\.(\d)\.", lambda m: f".layers.{int(m[1]) // 2}.{int(m[1]) % 2}."),
    (r"^stages\.(\d)\.", lambda m: f"stage{int(m[1]) + 1}."), (r"\.between\.conv\.", ".local."),
    (r"\.mixer\.qkv\.", ".mixer.to_qkv."), *ORDINARY,
)  # fmt: skip
DAT = (
    (r"^stem\.proj\.", "patch_proj.0."), (r"^stem\.norm\.", "patch_proj.1.norm."),
    (r"^stages\.(\d)\.down\.proj\.", lambda m: f"down_projs.{int(m[1]) - 1}.0."),
    (r"^stages\.(\d)\.down\.norm_after\.", lambda m: f"down_projs.{int(m[1]) - 1}.1.norm."),
    (r"\.blocks\.(\d)\.norm(\d)\.", lambda m: f".layer_norms.{2 * int(m[1]) + int(m[2]) - 1}.norm."),
    (r"\.blocks\.(\d)\.ffn\.fc(\d)\.", r".mlps.\1.chunk.linear\2."), (r"\.blocks\.(\d)\.mixer\.", r".attns.\1."),
    (r"\.cores\.0\.table$", ".relative_position_bias_table"), (r"\.table\.weight$", ".rpe_table"),
    (r"\.points\.depthwise\.", ".conv_offset.0."), (r"\.points\.norm\.", ".conv_offset.1.norm."),
    (r"\.points\.offset\.", ".conv_offset.3."), (r"\.proj\.", ".proj_out."), (r"\.(qkv|q|kv)\.", r".proj_\1."),
    (r"^head\.norm_before\.", "cls_norm.norm."), (r"^head\.fc\.", "cls_head."),
)  # fmt: skip
VAN = (
    (r"^stem\.proj\.", "patch_embed1.proj."), (r"^stem\.batch_norm\.", "patch_embed1.norm."),
    (r"^stages\.(\d)\.down\.batch_norm\.", lambda m: f"patch_embed{int(m[1]) + 1}.norm."),
    (r"^stages\.(\d)\.down\.", lambda m: f"patch_embed{int(m[1]) + 1}."), (r"\.(norm\d)\.norm\.", r".\1."),
    (r"^stages\.(\d)\.norm\.", lambda m: f"norm{int(m[1]) + 1}."),
    (r"^stages\.(\d)\.blocks\.", lambda m: f"block{int(m[1]) + 1}."), (r"\.ls(\d)\.gamma", r".layer_scale_\1"),
    (r"\.mixer\.f\.", ".attn.proj_1."), (r"\.mixer\.proj\.", ".attn.proj_2."),
    (r"\.mixer\.near\.", ".attn.spatial_gating_unit.conv0."), (r"\.dwconv\.", ".dwconv.dwconv."),
    (r"\.mixer\.far\.", ".attn.spatial_gating_unit.conv_spatial."),
    (r"\.mixer\.gate\.", ".attn.spatial_gating_unit.conv1."), *ORDINARY,
)  # fmt: skip
CVT = (
    (r"^stem\.", "stage0.patch_embed."), (r"^stages\.(\d)\.down\.proj\.", r"stage\1.patch_embed.proj."),
    (r"^stages\.(\d)\.down\.norm_after\.", r"stage\1.patch_embed.norm."), (r"\.cls_token\.tokens$", ".cls_token"),
    (r"^stages\.", "stage"), (r"\.local_([qkv])\.norm\.", r".conv_proj_\1.bn."),
    (r"\.local_([qkv])\.", r".conv_proj_\1."), (r"\.mixer\.([qkv])\.", r".attn.proj_\1."), *ORDINARY,
)  # fmt: skip
CMT = (
    (r"^stem\.", "stem_"), (r"^head\.hidden\.", "_fc."), (r"^head\.norm\.", "_bn."), (r"^(stem_\w+?)(\d)\.", r"\1\2."),
    (r"^stages\.(\d)\.down\.norm_after\.", lambda m: f"patch_embed_{'_abcd'[int(m[1])]}.norm."),
    (r"^stages\.(\d)\.down\.", lambda m: f"patch_embed_{'_abcd'[int(m[1])]}."),
    (r"^stages\.(\d)\.blocks\.0\.mixer\.position_bias$", lambda m: f"relative_pos_{'_abcd'[int(m[1])]}"),
    (r"^stages\.(\d)\.blocks\.", lambda m: f"blocks_{'_abcd'[int(m[1])]}."), (r"\.before\.proj\.", ".proj."),
    (r"\.mixer\.reduce\.", ".attn.sr.0."), (r"\.mixer\.norm\.", ".attn.sr.1."),
    (r"\.ffn\.fc(\d)\.", r".mlp.conv\1.0."), (r"\.ffn\.norm1\.", ".mlp.conv1.2."), (r"\.ffn\.norm3\.", ".mlp.conv2.1."),
    (r"\.ffn\.dwconv\.", ".mlp.proj."), (r"\.ffn\.norm2\.", ".mlp.proj_bn."), *ORDINARY,
)  # fmt: skip

FAMILIES = {
    "T2T-ViT": Family(
        genotype=plain.t2t(128, 1, 2), names=T2T, edit=t2t_edit,
        logits=(0.28484, 0.44202, 0.57654, -0.88351, -0.08578),
    ),
    "T2T-ViT with softmax": Family(
        genotype=plain.t2t(128, 1, 2, "softmax"), edit=t2t_edit,
        logits=(-0.92578, 0.71927, -0.91121, 1.37838, 0.79731),
        names=((r"^(stem\.layers\.\d\.)(qkv|proj)\.", r"\1attn.\2."), (r"^(stem.*mlp\.)fc", r"\1_fc"), *T2T[:2],
               (r"\._fc", ".fc"), *T2T[3:]),
    ),
    "CSWin": Family(
        genotype=windowed.cswin((8, 16, 32, 64), (1, 1, 2, 1), (1, 2, 2), head_dim=4), names=CSWIN, size=64,
        logits=(0.04572, 0.20027, 1.46405, -2.41516, 0.71327),
    ),
    "Shuffle": Family(
        genotype=windowed.shuffle((32, 64, 96, 128), (2, 2, 2, 2), window=3, stem=8), names=SHUFFLE,
        edit=as_maps(r"mlp\.fc\d", "to_qkv", "attn.proj"), size=96,
        logits=(66.9817, 477.26755, 194.33244, -264.9411, -305.94656),
    ),
    "DAT": Family(
        genotype=windowed.dat((8, 16, 32, 64), (2, 2, 2, 2), (0, 0, 0, 2), window=2, head_dim=8), names=DAT,
        edit=dat_edit, size=64,
        logits=(-0.39069, 2.39315, -0.28278, -1.57393, -0.68807),
    ),
    "VAN": Family(
        genotype=convolving.van((8, 16, 24, 32), (2, 1, 1, 1), (2, 2, 2, 2)), names=VAN,
        edit=as_maps(r"proj_\d", r"mlp\.fc\d", r"unit\.conv1"),
        logits=(-1.95121, -0.6582, -0.01297, 2.93163, 1.93926),
    ),
    "CvT": Family(
        genotype=convolving.cvt((8, 16, 32), (1, 2, 1), head_dim=8), names=CVT,
        logits=(0.23403, -0.20248, 0.82963, 0.13924, 0.80577),
    ),
    "CMT": Family(
        genotype=convolving.cmt(8, (2, 1, 1, 2), 2, stem=4, hidden=24), names=CMT,
        edit=as_maps("_fc", r"mlp\.conv\d\.0"), size=64,
        logits=(-0.10178, -0.31429, -1.88768, 1.13972, -1.73602),
    ),
}  # fmt: skip
