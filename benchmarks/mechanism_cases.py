"""What benchmarks/mechanisms.py measures: each mixer, and the settings in which the authors' modules were timed."""

import csv
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import search_spaces.downsamplers
import search_spaces.ffn
import search_spaces.locals
import search_spaces.reducers  # noqa: F401
from nas.errors import UserError, unknown
from nas.genotype import Atom
from search_spaces.costs import Shape
from search_spaces.layer import Layer
from search_spaces.mixers import MIXERS, build_mixer, mixer_cost
from search_spaces.mixers.base import SHARED
from search_spaces.parts import DOWNSAMPLERS, FFNS, LOCALS, REDUCERS
from search_spaces.taxonomy import BASELINE

SHORT = 196  # tokens up to which a layer is wide and the batch fixed, as in the authors' figures
BATCH, TOKENS = 8, 25_088  # images of a batch of short sequences; tokens of a batch of longer ones
LINEAR = 1.05  # growth of the multiply-accumulates over that of N

DENSE = "deformable_large_kernel(offsets=dense, shortcut=true)"

# How the authors' modules were set, in our words: family, at N=196, at N=3136.
OFFICIAL: dict[str, tuple[str, str, str]] = {
    "afno": ("mixer", "afno(blocks=8)", "afno(blocks=8)"),
    "agent": ("mixer", "agent(agents=49, position_bias=true)", "agent(agents=49, position_bias=true)"),
    "bilevel_routing": ("mixer", "bilevel(divisions=7, routes=4)", "bilevel(divisions=7, routes=4)"),
    "bixt": ("mixer", "bixt(latents=64)", "bixt(latents=64)"),
    "cmt": ("mixer", "light(reduction=2, position_bias=true)", "light(reduction=8, position_bias=true)"),
    "cross_covariance": ("mixer", "cross_covariance", "cross_covariance"),
    "cross_shaped_window": ("mixer", "cross_shaped_window(stripes=2)", "cross_shaped_window(stripes=56)"),
    "cvt_projection": ("mixer", "convolutional_projection(stride=2)", "convolutional_projection(stride=2)"),
    "deformable": ("mixer", "deformable(reduction=1)", "deformable(reduction=8)"),
    "deformable_large_kernel": ("mixer", DENSE, DENSE),
    "dual_channel_group": ("mixer", "channel_groups(scale=channels)", "channel_groups(scale=channels)"),
    "dynamicvit_predictor": ("reducer", "dynamic(keep=0.7)", "dynamic(keep=0.7)"),
    "efficient_attention": ("mixer", "efficient", "efficient"),
    "evit_select": ("reducer", "evit(keep=0.7)", "evit(keep=0.7)"),
    "fcvit_mixer": ("mixer", "fcvit(kernel=11)", "fcvit(kernel=11)"),
    "fibottention": ("mixer", "fibottention(semantics=background)", "fibottention(semantics=background)"),
    "fibottention_true_mask": ("mixer", "fibottention(semantics=masked)", "fibottention(semantics=masked)"),
    "focal_modulation": ("mixer", "focal(levels=2)", "focal(levels=2)"),
    "focused_linear": ("mixer", "linear(power=3)", "linear(power=3)"),
    "global_filter": ("mixer", "global_filter", "global_filter"),
    "grid": ("mixer", "grid(window=7)", "grid(window=7)"),
    "hilo": ("mixer", "hilo(window=2)", "hilo(window=2)"),
    "large_kernel": ("mixer", "large_kernel", "large_kernel"),
    "lit_deformable_token_merging": ("downsampler", "deformable", "deformable"),
    "local_patch_interaction": ("local", "lpi", "lpi"),
    "mix_ffn": ("ffn", "mix(ratio=4)", "mix(ratio=4)"),
    "msg": ("mixer", "messenger(window=7)", "messenger(window=7)"),
    "pooling": ("mixer", "pooling", "pooling"),
    "shifted_window": ("mixer", "shifted_window(window=7)", "shifted_window(window=7)"),
    "shuffle_window": ("mixer", "grid(window=7, position_bias=false)", "grid(window=7, position_bias=false)"),
    "shunted": ("mixer", "shunted(reduction=2)", "shunted(reduction=8)"),
    "shunted_ffn": ("ffn", "mix(ratio=4, skip=true)", "mix(ratio=4, skip=true)"),
    "skip_attention_phi": ("mixer", "skip_attention(kernel=5, ratio=2)", "skip_attention(kernel=5, ratio=2)"),
    "spatial_reduction": ("mixer", "spatial_reduction(reduction=2)", "spatial_reduction(reduction=8)"),
    "spatial_reduction_v2": ("mixer", "spatial_reduction(pool=7)", "spatial_reduction(pool=7)"),
    "token_slimming": ("reducer", "slimming(keep=0.5)", "slimming(keep=0.5)"),
    "token_statistics": ("mixer", "token_statistics", "token_statistics"),
    "tome_merge": ("reducer", "tome(keep=0.91)", "tome(keep=0.91)"),
    "twins_global_subsampled": ("mixer", "spatial_reduction(reduction=2)", "spatial_reduction(reduction=8)"),
    "twins_local": ("mixer", "window(window=7, position_bias=false)", "window(window=7, position_bias=false)"),
    "window": ("mixer", "window(window=7)", "window(window=7)"),
}
FAMILIES: dict[str, Any] = {
    "mixer": MIXERS, "reducer": REDUCERS, "ffn": FFNS, "local": LOCALS, "downsampler": DOWNSAMPLERS,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One mechanism at one length. refused: why it cannot work there. official: its name among the authors' times."""

    family: str
    atom: str
    length: int
    batch: int
    dim: int
    heads: int
    official: str
    refused: str | None = None

    @property
    def kind(self) -> str:
        return Atom.parse(self.atom).kind

    @property
    def shape(self) -> Shape:
        side, head_dim = math.isqrt(self.length), self.dim // self.heads
        shape = Shape(dim=self.dim, heads=self.heads, head_dim=head_dim, grid=(side, side), tokens=self.length)
        return placed(Atom.parse(self.atom), shape) if self.family == "mixer" else shape

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def cases(lengths: list[int], names: list[str], batch: int | None = None) -> list[Case]:
    """All of them, or those of the mechanisms named, by length within a mechanism. Raises UserError."""
    for length in lengths:
        side = math.isqrt(length)
        if side**2 != length or side < 2:
            raise UserError(f"--lengths: {length} tokens are no square map; {max(2, side) ** 2} are")
    entries = list(_entries())
    wanted = {_kind(name, {kind for _, kind, _ in entries}) for name in names}
    chosen = [entry for entry in entries if not names or entry[1] in wanted]
    return [make_case(*entry, length, batch) for entry in chosen for length in lengths]


def _kind(name: str, kinds: set[str]) -> str:
    """Our word for a mechanism that is named as we or as the authors' times name it."""
    if name not in kinds and name in OFFICIAL:
        return Atom.parse(OFFICIAL[name][1]).kind
    if name not in kinds:
        raise unknown("mechanism", name, kinds, "--mechanisms")
    return name


def _entries() -> Iterator[tuple[str, str, str]]:
    """(family, mechanism, its name among the authors' times): every mixer, and whatever else the authors timed."""
    timed = [(family, Atom.parse(short).kind, name) for name, (family, short, _) in OFFICIAL.items()]
    for kind in sorted(kind for kind in MIXERS if MIXERS[kind].reach != "none"):
        settings = [entry for entry in timed if entry[:2] == ("mixer", kind)]
        yield from settings or [("mixer", kind, kind)]
    yield from (entry for entry in timed if entry[0] != "mixer" and entry[1] in FAMILIES[entry[0]])


def make_case(family: str, kind: str, official: str, length: int, batch: int | None = None) -> Case:
    """In the authors' setting where there is one, else in the first of our own that fits."""
    dim, heads = (192, 3) if length <= SHORT else (64, 2)
    batch = batch or (BATCH if length <= SHORT else max(1, TOKENS // length))
    short, long = OFFICIAL.get(official, (family, kind, kind))[1:]
    first = Atom.parse(short if length <= SHORT else long)
    tried = [
        Case(family=family, atom=str(atom), length=length, batch=batch, dim=dim, heads=h, official=official)
        for atom in (first, *_searched(family, kind)) for h in dict.fromkeys((heads, heads + heads % 2))
    ]  # fmt: skip
    fitting = [case for case in tried if refusal(case) is None]
    return fitting[0] if fitting else _refused(tried[0])


def _searched(family: str, kind: str) -> Iterator[Atom]:
    search = getattr(FAMILIES[family][kind], "search", {})
    for values in product(*search.values()):
        yield Atom(kind, **dict(zip(search, values, strict=True)))


def placed(atom: Atom, shape: Shape) -> Shape:
    """A mixer that cannot stand alone stands before a block that goes on with what it leaves, or else behind one."""
    if not MIXERS[atom.kind].recalls:
        return shape
    places = (shape, replace(shape, wanted=True), replace(shape, given=True))
    return next((place for place in places if _refusal(atom, place) is None), places[-1])


def refusal(case: Case) -> str | None:
    """What the mechanism says against this shape. Softmax attention is measured at any length: it is the measure."""
    if case.family != "mixer" or MIXERS[case.kind].about.taxonomy == BASELINE:
        return None
    return _refusal(Atom.parse(case.atom), case.shape)


def _refusal(atom: Atom, shape: Shape) -> str | None:
    return MIXERS[atom.kind].check(shape, **{k: v for k, v in atom.params.items() if k not in SHARED})


def _refused(case: Case) -> Case:
    return Case(**{**case.to_json(), "refused": refusal(case)})


def make_layer(case: Case) -> nn.Module:
    """The mechanism as it would stand in a network, its weights drawn from PyTorch's generator."""
    layer = _make(case)
    for part in layer.modules():
        if isinstance(part, Layer):
            part.init_special()
    return layer


def _make(case: Case) -> nn.Module:
    shape, atom = case.shape, Atom.parse(case.atom)
    if case.family == "mixer":
        return make_mixer(atom, shape)
    made = FAMILIES[case.family][atom.kind]
    if case.family == "reducer":
        return make_reducer(atom, dim=shape.dim, tokens=shape.tokens, prefix=0)
    sizes = {"out_dim": 2 * shape.dim} if case.family == "downsampler" else {}
    return made(dim=shape.dim, grid=shape.grid, **sizes, **atom.params)


def make_mixer(atom: Atom, shape: Shape) -> nn.Module:
    mixer = build_mixer((atom,), 0.5, shape)
    return Behind(mixer, shape) if MIXERS[atom.kind].recalls else mixer


def make_reducer(atom: Atom, dim: int, tokens: int, prefix: int) -> nn.Module:
    reducer = REDUCERS[atom.kind](dim=dim, tokens=tokens, prefix=prefix, **atom.params)
    return Restored(reducer) if reducer.restores else reducer


class Restored(nn.Module):
    """A reducer that brings tokens back, and right behind it that it does."""

    def __init__(self, reducer: Any) -> None:
        super().__init__()
        self.reducer = reducer

    def forward(self, x: Tensor) -> Tensor:
        reducer: Any = self.reducer
        return reducer.restore(*reducer(x))


class Behind(nn.Module):
    """A mixer that recalls, behind a block that has left its output and, where they are given, its scores."""

    scores: Tensor

    def __init__(self, mixer: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.mixer, self.given = mixer, shape.given
        side = shape.length if shape.given else 1
        self.register_buffer("scores", torch.randn(1, shape.heads, side, side), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixer(x, {"output": x, "scores": self.scores.expand(x.shape[0], -1, -1, -1)} if self.given else {})


def is_linear(case: Case) -> bool:
    """Whether its multiply-accumulates grow with N alone, from a map of 28×28 tokens to one of 112×112."""
    if case.family != "mixer" or case.refused:
        return False
    short, long = (replace(case, length=n, dim=64, heads=2) for n in (784, 12544))
    if refusal(long) is not None:
        return False
    atoms = (Atom.parse(case.atom),)
    macs = [mixer_cost(atoms, 0.5, at.shape).macs for at in (short, long)]
    return macs[1] <= LINEAR * 16 * macs[0]


def official_times(path: Path | None) -> dict[tuple[str, int], dict[str, float]]:
    """(mechanism, N) -> the authors' module over fused attention: "forward" and "both". Empty without a file."""
    if path is None or not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        (row["mechanism"], int(row["N"])): {
            "forward": float(row["fwd_ms"]) / float(row["mha_fwd_ms"]),
            "both": float(row["fwdbwd_ms"]) / float(row["mha_fwdbwd_ms"]),
        }
        for row in rows
    }
