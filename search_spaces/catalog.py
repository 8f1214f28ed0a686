"""Every mechanism in words: where it stands in the taxonomy, where it comes from, what it needs, how to ask for it."""

import inspect
import re
import sys
from dataclasses import dataclass
from itertools import product
from typing import Any

import search_spaces.vit  # noqa: F401  every family registers its members
from nas.genotype import Atom
from nas.registry import REGISTRIES, Registry
from search_spaces.costs import Shape
from search_spaces.layer import Layer
from search_spaces.mixers import Core, Mixer
from search_spaces.taxonomy import BASELINE, CLASSES

AROUND = "around the mixers"
# Class and group of what is no mixer, and the key of a genotype that names it.
PLACES = {
    "ffn": (AROUND, "feed-forward", "ffn"),
    "stem": ("tokenization", "stems", "stem"),
    "position": (AROUND, "positions of tokens", "position"),
    "downsampler": ("tokenization", "merging between stages", "down"),
    "reducer": ("tokenization", "reduction inside a stage", "reduction"),
    "local": (AROUND, "convolutions beside the mixer", "local"),
    "head": (AROUND, "heads", "head"),
    "norm": (AROUND, "norms", "norm"),
    "position in the scores": (AROUND, "positions in the scores of softmax attention", "a"),
    "bridge": ("hierarchy", "bridges over stages", "bridge"),
    "fusion": ("hierarchy", "branches", "fusion"),
}
INSIDE = {"position in the scores": "softmax(position={})"}  # families that are named inside another component
STANDS = {
    "before mixer": "before the mixer",
    "before both": "before the mixer and before the feed-forward",
    "between": "between mixer and feed-forward",
}
PROBES = ((14, 14, 3), (56, 56, 2), (112, 112, 2), (7, 5, 3), (4, 4, 2))  # rows, columns, heads to ask checks for
SOURCE = re.compile(r"\(([^()]*(?:arXiv|(?:19|20)\d\d)[^()]*)\)")
SIZE = {"size": 16, "stride": 4}  # for parameters without a default


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One mechanism. title and sentence: of its file and of its class. source: the paper with its arXiv identifier as
    the file names it, or "". key: where a genotype names it."""

    family: str
    name: str
    taxonomy: str
    group: str
    title: str
    sentence: str
    source: str
    complexity: str
    search: dict[str, tuple[Any, ...]]
    constraints: tuple[str, ...]
    key: str
    example: str

    @property
    def full_name(self) -> str:
        """Names are unique within a family alone."""
        return self.name if self.family == "mixer" else f"{self.name} ({self.family})"

    @property
    def arxiv(self) -> str:
        """Identifiers, separated by commas."""
        return ", ".join(re.findall(r"\d{4}\.\d{5}", self.source))


def entries(own: bool = True) -> list[Entry]:
    """Of every family, by class, group and name. own: without those that other packages have added."""
    found = [
        _entry(registry.family, name, made)
        for registry in component_families()
        for name, made in registry.items()
        if (name != "none" or hasattr(made, "about")) and not (own and not made.__module__.startswith("search_spaces."))
    ]
    order = [BASELINE, *CLASSES, AROUND]
    return sorted(found, key=lambda e: (order.index(e.taxonomy), e.group, e.family, e.name))


def component_families() -> list[Registry[Any]]:
    """The registries of modules that networks are made of."""
    return [r for r in REGISTRIES if any(isinstance(m, type) and issubclass(m, Layer) for _, m in r.items())]


def _entry(family: str, name: str, made: Any) -> Entry:
    about, module = getattr(made, "about", None), sys.modules[made.__module__]
    taxonomy, group, key = PLACES.get(family, (AROUND, family, family))
    if about is not None:
        taxonomy, group = about.taxonomy, about.group
    return Entry(
        family=family,
        name=name,
        taxonomy=taxonomy,
        group=group,
        title=_first_sentence(SOURCE.sub("", module.__doc__ or "")),
        sentence=_first_sentence(own_docstring(made)),
        source=f"{about.paper}, arXiv {about.arxiv}" if about is not None else _source(module.__doc__ or ""),
        complexity=about.complexity if about is not None else "",
        search=_searched(made),
        constraints=tuple(_constraints(family, made)),
        key="a" if family == "mixer" else key,
        example=INSIDE.get(family, str(_example(family, name, made))).format(name),
    )


def _searched(made: Any) -> dict[str, tuple[Any, ...]]:
    """The values worth trying, with a word for one that is None and stands for something."""
    unset = getattr(made, "unset", {})
    return {
        key: tuple(unset.get(key) if value is None else value for value in values)
        for key, values in getattr(made, "search", {}).items()
    }


def own_docstring(made: Any) -> str:
    """Not that of its base class; "" where it has none."""
    return (made.__dict__.get("__doc__") if isinstance(made, type) else made.__doc__) or ""


def _first_sentence(text: str) -> str:
    sentence = re.split(r"(?<=\.) (?=[A-ZΣ])", _first_paragraph(text))[0]
    return re.sub(r" +(?=[.,:;]|$)", "", sentence)


def _first_paragraph(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split())


def _source(text: str) -> str:
    return "; ".join(SOURCE.findall(_first_paragraph(text)))


def _constraints(family: str, made: Any) -> list[str]:
    if family == "mixer":
        return [*_mixer_facts(made), *refusals(made)]
    found = []
    if getattr(made, "positional", False):
        found.append("Holds a convolution: tells positions apart.")
    if getattr(made, "positional", False) and family == "ffn":
        found.append("Needs the grid: not after a token reduction (V8).")
    if getattr(made, "needs_cls", False):
        found.append("Needs a class token.")
    if isinstance(getattr(made, "place", None), str):
        found.append(f"Stands {STANDS.get(made.place, made.place)}.")
    if getattr(made, "restores", False):
        found.append("Brings the tokens back at the end of the stage.")
    return found


def _mixer_facts(mixer: type[Mixer]) -> list[str]:
    shares = "Has no heads"
    if mixer.has_heads:
        shares = "Has projections of its own, so it shares no heads"
    if issubclass(mixer, Core):
        shares = "Can share the heads of a block with another mechanism"
    prefix = "takes class token and registers" if mixer.takes_prefix else "no class token, no registers (V7)"
    far = "" if mixer.reach == "global" else " One layer does not see the whole map: another must (V12)."
    return [f"{shares}; {prefix}.", _order(mixer) + far, *_memory_facts(mixer)]


def _order(mixer: type[Mixer]) -> str:
    if not mixer.is_set:
        return "Needs the grid: not after a token reduction (V8)."
    free = "Treats tokens as a set: works after a token reduction, needs a position from elsewhere (V11)."
    always = all(mixer.set_like(**params) for params in _settings(mixer))
    return free if always else f"{free} Not in all settings: some need the grid."


def _memory_facts(mixer: type[Mixer]) -> list[str]:
    found = []
    if mixer.recalls:
        alone = mixer.check(_shape(14, 14, heads=4, among_others=False)) is None
        need = "if there is one" if alone else f"and is never alone ({mixer.rule})"
        found.append(f"Goes on with the {_words(mixer.recalls)} of an earlier block of its stage, {need}.")
    if mixer.leaves:
        found.append(f"Can leave its {_words(mixer.leaves)} to later blocks of its stage.")
    return found


def _words(name: str) -> str:
    return name.replace("_", " ")


def refusals(mixer: type[Mixer]) -> list[str]:
    """What check() says in the default setting on small, odd and large maps: rule, reason and first map of each."""
    found: dict[str, str] = {}
    for rows, columns, heads in PROBES:
        shape = _shape(rows, columns, heads, among_others=mixer.recalls != "")
        refused = mixer.check(shape)
        if refused is not None:
            found.setdefault(refused, f"{rows}×{columns} tokens and {heads} heads")
    return [f"Refuses {where} ({mixer.rule}): {refused}." for refused, where in found.items()]


def _shape(rows: int, columns: int, heads: int, among_others: bool) -> Shape:
    """Of a block, or of one between others that leave something and go on with it."""
    return Shape(
        dim=32 * heads, heads=heads, head_dim=32, grid=(rows, columns), tokens=rows * columns,
        given=among_others, wanted=among_others,
    )  # fmt: skip


def _example(family: str, name: str, made: Any) -> Atom:
    """With its first values worth trying that fit a map of 14×14 tokens."""
    search = getattr(made, "search", {})
    every = (dict(zip(search, values, strict=True)) for values in product(*search.values()))
    settings = [{key: value for key, value in one.items() if value is not None} for one in every]
    if family == "mixer":
        shape = _shape(14, 14, heads=4, among_others=made.recalls != "")
        fitting = [p for p in settings if made.check(shape, **p) is None]
        return Atom(name, **(fitting or settings)[0])
    required = {key: value for key, value in SIZE.items() if is_required(made, key)}
    return Atom(name, **required, **settings[0])


def _settings(made: Any) -> list[dict[str, Any]]:
    """Every combination of the values worth trying."""
    search = getattr(made, "search", {})
    return [dict(zip(search, values, strict=True)) for values in product(*search.values())]


def is_required(made: Any, key: str) -> bool:
    """Whether the constructor takes `key` and has no default for it."""
    parameter = inspect.signature(made).parameters.get(key)
    return parameter is not None and parameter.default is inspect.Parameter.empty
