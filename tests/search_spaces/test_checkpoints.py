"""Published checkpoints: files in the names of timm or of the authors are read back, what does not fit is named."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from nas.errors import UserError
from nas.genotype import NONE, Atom, Genotype, Stage
from search_spaces.model import Network, build
from search_spaces.zoo.checkpoints import load_checkpoint
from search_spaces.zoo.name_maps import NAME_MAPS, find_map
from tests.search_spaces.counting import randomised
from tests.search_spaces.published_names import FAMILIES, image, weighted

Tensors = dict[str, Tensor]
STAGE = Stage(width=16, depth=1, head_dim=8)
DEIT = Genotype(
    topology="plain", stem=Atom("patch", size=8), stages=(STAGE,),
    position=Atom("learned"), cls_token=True, head=Atom("cls"),
)  # fmt: skip
SWIN = Genotype(
    topology="pyramid",
    stem=Atom("patch", size=4, norm=True),
    stages=(
        replace(STAGE, a=Atom("window", window=4)),
        replace(STAGE, a=Atom("window", window=4), width=32, down=Atom("merge")),
    ),
)
FOCAL = Genotype(
    topology="pyramid",
    stem=Atom("patch", size=4, norm=True),
    stages=tuple(
        Stage(width=w, depth=1, a=Atom("focal", post_norm=True), layer_scale=0.1, down=d)
        for w, d in ((8, NONE), (16, Atom("patch")))
    ),
)
XCIT = Genotype(
    topology="plain", stem=Atom("convstack", stride=8), position=Atom("fourier"),
    stages=(replace(STAGE, a=Atom("cross_covariance"), local=Atom("lpi"), layer_scale=1.0),),
    head=Atom("class_attention", depth=1, num_heads=2),
)  # fmt: skip
TIMM_VIT = (
    (r"^stages\.0\.(cls_token)\.tokens$", r"\1"), (r"^stages\.0\.position\.table$", "pos_embed"),
    (r"^stages\.0\.", ""), (r"\.mixer\.", ".attn."), (r"\.ffn\.", ".mlp."),
    (r"^stem\.", "patch_embed."), (r"^head\.norm\.", "norm."), (r"^head\.fc\.", "head."),
)  # fmt: skip
TIMM_SWIN = (
    (r"^stages\.(\d)\.down\.", r"layers.\1.downsample."), (r"^stages\.", "layers."),
    (r"\.mixer\.cores\.0\.table$", ".attn.relative_position_bias_table"),
    (r"\.mixer\.", ".attn."), (r"\.ffn\.", ".mlp."),
    (r"^stem\.", "patch_embed."), (r"^head\.norm_before\.", "norm."),
)  # fmt: skip
TIMM_POOLFORMER = (
    (r"^stem\.proj\.", "stem.conv."), (r"\.ls(\d)\.gamma", r".layer_scale\1.scale"), (r"\.ffn\.", ".mlp."),
    (r"^head\.norm_before\.", "head.norm."),
)  # fmt: skip
AUTHORS_FOCAL = (
    (r"^stages\.1\.down\.(norm_after\.)?", lambda m: "layers.0.downsample." + ("norm." if m[1] else "")),
    (r"^stages\.", "layers."), (r"\.ls(\d)\.gamma", r".gamma_\1"),
    (r"\.mixer\.contexts\.(\d)\.", r".modulation.focal_layers.\1.0."),
    (r"\.mixer\.norm\.", ".modulation.ln."), (r"\.mixer\.", ".modulation."), (r"\.ffn\.", ".mlp."),
    (r"^stem\.", "patch_embed."), (r"^head\.norm_before\.", "norm."), (r"^head\.fc\.", "head."),
)  # fmt: skip
AUTHORS_XCIT = (
    (r"^stem\.layers\.(\d+)\.", lambda m: f"patch_embed.proj.{int(m[1]) // 3 * 2}.{int(m[1]) % 3}."),
    (r"^stages\.0\.position\.", "pos_embeder."), (r"^stages\.0\.", ""), (r"\.ls(\d)\.gamma", r".gamma\1"),
    (r"\.between\.", ".local_mp."), (r"\.mixer\.(cores\.0\.)?", ".attn."), (r"\.ffn\.", ".mlp."),
    (r"^head\.blocks\.(\d)\.(fc\d)\.", r"cls_attn_blocks.\1.mlp.\2."), (r"^head\.blocks\.", "cls_attn_blocks."),
    (r"^head\.(cls_token|norm\..*)$", r"\1"), (r"^head\.fc\.", "head."),
)  # fmt: skip


def network_of(genotype: Genotype) -> Network:
    network = build(genotype, image_size=32, classes=5)
    randomised(network)
    return network


def written(network: Network, names: Any) -> Tensors:
    """The weights of a network of ours under other names."""
    state = {}
    for name, tensor in network.state_dict().items():
        for pattern, theirs in names:
            name = re.sub(pattern, theirs, name)
        state[name] = tensor.clone()
    return state


def saved(path: Path, state: Any) -> Path:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def assert_same(found: Network, wanted: Network) -> None:
    ours, theirs = found.state_dict(), wanted.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}])
def test_a_vit_comes_back_from_a_pickled_file(tmp_path: Path, wrap: Any) -> None:
    network = network_of(DEIT)
    state = {f"module.{name}": tensor for name, tensor in written(network, TIMM_VIT).items()}
    assert_same(load_checkpoint(DEIT, saved(tmp_path / "vit.pth", wrap(state)), image_size=32), network)


def test_a_network_of_the_zoo_takes_sizes_from_zoo_and_file(tmp_path: Path) -> None:
    from search_spaces.zoo import ZOO

    network = build(ZOO["deit_mini"].build(32), image_size=32, in_chans=1, classes=7)
    path = saved(tmp_path / "mini.safetensors", written(network, TIMM_VIT))
    assert_same(load_checkpoint("deit_mini", path), network)


def test_a_merging_may_stand_before_or_behind_the_border_of_stages(tmp_path: Path) -> None:
    network = network_of(SWIN)
    state = written(network, TIMM_SWIN)
    authors = {n.replace("layers.1.downsample", "layers.0.downsample"): t for n, t in state.items()}
    authors["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.int64)
    for found in (state, authors):
        assert_same(load_checkpoint(SWIN, saved(tmp_path / "swin.safetensors", found), image_size=32), network)


def test_names_of_the_authors_of_focalnet_are_read(tmp_path: Path) -> None:
    network = network_of(FOCAL)
    state = written(network, AUTHORS_FOCAL)
    state["layers.0.blocks.0.modulation.h.weight"] = state["layers.0.blocks.0.modulation.h.weight"][..., None, None]
    assert_same(load_checkpoint(FOCAL, saved(tmp_path / "focal.pth", {"model": state}), image_size=32), network)


def test_one_linear_for_queries_keys_and_values_of_class_attention_is_split(tmp_path: Path) -> None:
    network = network_of(XCIT)
    state = {n: t for n, t in written(network, AUTHORS_XCIT).items() if not n.endswith("num_batches_tracked")}
    for kind in ("weight", "bias"):
        names = [f"cls_attn_blocks.0.attn.{q}.{kind}" for q in "qkv"]
        state[f"cls_attn_blocks.0.attn.qkv.{kind}"] = torch.cat([state.pop(name) for name in names])
    assert_same(load_checkpoint(XCIT, saved(tmp_path / "xcit.pth", state), image_size=32), network)


def test_a_poolformer_of_timm_fills_that_of_the_authors(tmp_path: Path) -> None:
    stage = Stage(width=8, depth=1, a=Atom("pooling", kernel=3), norm=Atom("group"), layer_scale=1.0)
    genotype = Genotype(topology="plain", stem=Atom("overlap", stride=4, norm=False), stages=(stage,))
    network = network_of(genotype)
    state = written(network, TIMM_POOLFORMER)
    assert_same(load_checkpoint(genotype, saved(tmp_path / "pool.safetensors", state), image_size=32), network)


@pytest.mark.parametrize("name", FAMILIES)
def test_files_of_the_authors_come_back(tmp_path: Path, name: str) -> None:
    family = FAMILIES[name]
    network = weighted(family)
    state = family.edit(written(network, family.names))
    assert find_map(state).family == name.removesuffix(" with softmax")
    found = load_checkpoint(family.genotype, saved(tmp_path / "authors.pth", state), image_size=family.size)
    for ours, tensor in network.state_dict().items():
        torch.testing.assert_close(found.state_dict()[ours], tensor, msg=lambda text, ours=ours: f"{ours}: {text}")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_authors_code_gives_the_same_logits(name: str) -> None:
    family = FAMILIES[name]
    found = weighted(family)(image(family))[0]
    torch.testing.assert_close(found, torch.tensor(family.logits), rtol=1e-4, atol=1e-4)


def test_another_number_of_classes_starts_a_fresh_classifier(tmp_path: Path) -> None:
    network = network_of(DEIT)
    path = saved(tmp_path / "vit.safetensors", written(network, TIMM_VIT))
    found, x = load_checkpoint(DEIT, path, image_size=32, classes=3), torch.ones(1, 3, 32, 32)
    assert found(x).shape == (1, 3)
    assert torch.equal(found.features(x), network.features(x))


@pytest.mark.parametrize(
    ("change", "size", "message"),
    [
        ({"norm.bias": None}, 32, "vit.safetensors: holds no head.norm.bias, which the network has"),
        ({"extra.bias": torch.ones(2)}, 32, "vit.safetensors: holds extra.bias, which the network has not"),
        ({"norm.bias": torch.ones(3)}, 32, "head.norm.bias is 3, the network needs 16"),
        ({}, 64, r"position table stages.0.position.table is of another grid: 17 rows, .* needs 65"),
        ({"head.weight": None}, 32, "holds no classifier"),
        ({"blocks.0.attn.qkv.weight": None}, 32, "no published family has tensors such as"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(tmp_path: Path, change: Any, size: int, message: str) -> None:
    state = {**written(network_of(DEIT), TIMM_VIT), **change}
    path = saved(tmp_path / "vit.safetensors", {name: t for name, t in state.items() if t is not None})
    with pytest.raises(UserError, match=message) as error:
        load_checkpoint(DEIT, path, image_size=size)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.safetensors", b"no", "not a safetensors file"), ("a.txt", b"no", "expected a .safetensors or a .pth file"),
        ("a.pth", b"no", "cannot be read as weights alone"),
    ],
)  # fmt: skip
def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_checkpoint(DEIT, tmp_path / name)
    with pytest.raises(UserError, match="no such file"):
        load_checkpoint(DEIT, tmp_path / "absent.pth")


def test_code_in_a_pickled_file_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as weights alone"):
        load_checkpoint(DEIT, saved(tmp_path / "a.pth", {"model": Path("x")}))
    with pytest.raises(UserError, match="expected tensors by name, found list"):
        load_checkpoint(DEIT, saved(tmp_path / "a.pth", [torch.ones(2)]))


def test_no_checkpoint_is_taken_for_another_family() -> None:
    """The first map whose mark a file bears is its own."""
    assert [find_map([example]).rename for example in MARKED] == [entry.rename for entry in NAME_MAPS]


MARKED = (
    "pos_embed_1",
    "tokens_to_token.project.weight", "cls_attn_blocks.0.norm1.weight", "blocks.0.attn.qkv.weight",
    "layers.0.blocks.0.attn.relative_position_bias_table",
    "block1.0.attn.spatial_gating_unit.conv0.weight", "patch_embed1.proj.weight",
    "stages.0.blocks.0.attn.q.weight", "pos_block.0.proj.0.weight", "stages.0.blocks.0.0.cpe1.proj.weight",
    "layers.0.blocks.0.modulation.f.weight", "network.0.0.layer_scale_1", "stages.0.blocks.0.layer_scale1.scale",
    "stages.1.blocks.2.token_mixer.attention_biases",
    "stages.0.blocks.0.mlp.act.scale", "stages.0.blocks.0.conv.conv1_1x1.weight",
    "stage1_conv_embed.0.weight", "to_token.conv1.0.weight", "patch_proj.0.weight",
    "stage0.blocks.0.attn.conv_proj_q.conv.weight", "relative_pos_a",
)  # fmt: skip
