"""Name maps for the authors' modules whose blocks hand something on: skipped attention and streams of latents."""

from typing import Any

from torch import nn

from nas.genotype import Atom, Genotype, Stage
from search_spaces.ffn.mlp import Mlp
from search_spaces.mixers.bixt import Exchange, LatentStream
from search_spaces.mixers.skip_attention import SkippedAttention
from search_spaces.model import EncoderStage, build
from tests.oracles.adapter import Adapter, Meta, Tensors

PHI = {"linear1.0": "fc1", "dwconv.0": "conv", "linear2.0": "fc2", "eca.conv": "gate.conv"}


def _phi(meta: Meta) -> nn.Module:
    ctor = meta["ctor"]
    ratio, gate = ctor["hidden_dim"] / ctor["dim"], ctor.get("use_eca", True)
    return SkippedAttention(ctor["dim"], 1, tuple(meta["grid"]), ratio=ratio, gate=gate)


def _phi_names(tensors: Tensors) -> Tensors:
    return {_replaced(name, PHI): tensor for name, tensor in tensors.items()}


def _replaced(name: str, words: dict[str, str]) -> str:
    for old, new in words.items():
        name = name.replace(old, new)
    return name


def _network(meta: Meta) -> EncoderStage:
    """The stage of a plain network whose skipped blocks follow each other, or are every second one."""
    ctor, skipped = meta["ctor"], meta["ctor"]["skip_indices"]
    run = skipped == list(range(skipped[0], skipped[-1] + 1))
    stage = Stage(
        width=ctor["embed_dim"], depth=ctor["depth"], head_dim=ctor["embed_dim"] // ctor["num_heads"],
        ffn=Atom("mlp", ratio=ctor["mlp_ratio"]), b=Atom("skip_attention", chained=True),
        mode="then" if run else "alternate",
        share=skipped[0] / ctor["depth"], tail=ctor["depth"] - skipped[-1] - 1, norm=Atom("layer", eps=1e-6),
        norm_out=True,
    )  # fmt: skip
    assert [i for i, block in enumerate(stage.mixers()) if block[0].kind == "skip_attention"] == skipped
    genotype = Genotype(
        topology="plain", stem=Atom("patch", size=ctor["patch_size"]), stages=(stage,), position=Atom("learned"),
        cls_token=True, head=Atom("cls"),
    )  # fmt: skip
    return build(genotype, image_size=ctor["img_size"]).stages[0]


def _network_names(meta: Meta, tensors: Tensors) -> Tensors:
    found = {}
    for name, tensor in tensors.items():
        if name.startswith("param_"):
            number, rest = name.removeprefix("param_").split(".", 1)
            block = meta["ctor"]["skip_indices"][int(number) - 1]
            found[f"blocks.{block}.mixer.{_replaced(rest, PHI)}"] = tensor
        else:
            words = {"attn.": "mixer.", "mlp.": "ffn.", "pos_embed": "position.table", "cls_token": "cls_token.tokens"}
            found[_replaced(name, words)] = tensor
    return found


def _call_network(stage: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    tokens = stage(inputs["x"])
    return {"tokens": tokens, "cls": tokens[:, 0]}


SIDES = {"latents": "latents", "patches": "tokens", "lat": "latents", "pat": "tokens"}


def _exchange_names(tensors: Tensors) -> Tensors:
    """rv_patches -> rv_tokens, proj_lat -> proj_latents."""
    found = {}
    for name, tensor in tensors.items():
        (kind, side), rest = name.split(".")[0].split("_"), name.split(".", 1)[1]
        found[f"{kind}_{SIDES[side]}.{rest}"] = tensor
    return found


def _call_exchange(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    tokens, latents = module(inputs["patches"], inputs["latents"])
    return {"latents": latents, "patches": tokens}


def _exchange(ctor: dict[str, Any], **sides: bool) -> Exchange:
    heads = ctor.get("ca_num_heads", ctor.get("num_heads"))
    return Exchange(ctor["dim_pat"], heads, ctor["dim_lat"], ctor["dim_attn"], ctor.get("rv_bias", False), **sides)


def _bixt_block(meta: Meta) -> nn.Module:
    """Around our exchange and stream of latents, the tokens' norms and MLP are those of a block."""
    ctor, block = meta["ctor"], nn.Module()
    latents, tokens, one_sided = ctor["dim_lat"], ctor["dim_pat"], ctor.get("ca_onesided", False)
    block.norm, block.norm1 = nn.LayerNorm(latents), nn.LayerNorm(tokens)
    block.exchange = _exchange(ctor, for_tokens=not one_sided)
    ratios = ctor.get("ca_lat_mlp_ratio", 4.0), ctor.get("sa_mlp_ratio", 4.0)
    block.stream = LatentStream(latents, ctor["sa_num_heads"], *ratios, qkv_bias=ctor.get("qkv_bias", False))
    if not one_sided:
        block.norm2, block.ffn = nn.LayerNorm(tokens), Mlp(tokens, None, ctor.get("ca_pat_mlp_ratio", 4.0))
    return block


BLOCK = {
    "cross_attention_latents_token.norm1_lat": "norm",
    "cross_attention_latents_token.norm1_pat": "norm1",
    "cross_attention_latents_token.norm2_lat": "stream.norm1",
    "cross_attention_latents_token.norm2_pat": "norm2",
    "cross_attention_latents_token.mlp_lat": "stream.mlp1",
    "cross_attention_latents_token.mlp_pat": "ffn",
    "self_attention_latents.norm1": "stream.norm2",
    "self_attention_latents.norm2": "stream.norm3",
    "self_attention_latents.attn": "stream.attention",
    "self_attention_latents.mlp": "stream.mlp2",
}
EXCHANGE = "cross_attention_latents_token.attn."


def _block_names(meta: Meta, tensors: Tensors) -> Tensors:
    inner = {n.removeprefix(EXCHANGE): t for n, t in tensors.items() if n.startswith(EXCHANGE)}
    inner = {"rv" + n[1:] if n.startswith("r_") else n: t for n, t in inner.items()}
    outer = {_replaced(n, BLOCK): t for n, t in tensors.items() if not n.startswith(EXCHANGE)}
    return outer | {f"exchange.{name}": tensor for name, tensor in _exchange_names(inner).items()}


def _call_block(block: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    latents, x = inputs["latents"], inputs["patches"]
    for_tokens, for_latents = block.exchange(block.norm1(x), block.norm(latents))
    outputs = {"latents": block.stream(latents + for_latents)}
    if for_tokens is None:
        return outputs
    x = x + for_tokens
    return outputs | {"patches": x + block.ffn(block.norm2(x))}


MAPS = {
    "skip_attention_phi": Adapter(
        build=_phi, rename=lambda meta, tensors: _phi_names(tensors),
        call=lambda module, meta, inputs: {"": module(inputs["x"], {"output": inputs["x"]})},
    ),
    "skip_attention_network": Adapter(build=_network, rename=_network_names, call=_call_network),
    "bixt": Adapter(
        build=lambda meta: _exchange(meta["ctor"]),
        rename=lambda meta, tensors: _exchange_names(tensors), call=_call_exchange,
    ),
    "bixt_block": Adapter(build=_bixt_block, rename=_block_names, call=_call_block),
}  # fmt: skip
