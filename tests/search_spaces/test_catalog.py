"""The catalogue and its page: complete, resolvable, and the file in the repository is what the generator gives."""

import json
import re
from pathlib import Path

import pytest

from nas.genotype import Atom
from nas.listing import list_choices
from search_spaces.catalog import Entry, entries, refusals
from search_spaces.catalog_page import page, when_it_pays
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS
from search_spaces.parts import DOWNSAMPLERS, FFNS, HEADS, LOCALS, POSITIONS, REDUCERS, STEMS

DOCS = Path(__file__).parents[2] / "docs"
ENTRIES = entries()


def test_every_component_of_every_family_is_described() -> None:
    said = {(e.family, e.name) for e in ENTRIES}
    families = (MIXERS, FFNS, STEMS, POSITIONS, DOWNSAMPLERS, REDUCERS, LOCALS, HEADS)
    assert said >= {(r.family, name) for r in families for name in r if name != "none"}
    assert ("mixer", "none") in said
    assert all(e.title and e.taxonomy and e.group for e in ENTRIES)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.family == "mixer"], ids=lambda e: e.name)
def test_a_mixers_entry_names_its_paper_and_an_example_that_fits(entry: Entry) -> None:
    atom, about = Atom.parse(entry.example), MIXERS[entry.name].about
    shape = Shape(dim=128, heads=4, head_dim=32, grid=(14, 14), tokens=196, given=True, wanted=True)
    assert entry.arxiv == about.arxiv
    assert about.paper in entry.source
    assert (atom.kind, MIXERS[atom.kind].check(shape, **atom.params)) == (entry.name, None)


def test_the_list_of_the_command_line_says_the_same_in_short() -> None:
    rows = {(r["family"], r["name"]): r for r in list_choices("mechanisms")}
    assert rows.keys() >= {(e.family, e.name) for e in ENTRIES}
    assert next(iter(rows)) == ("mixer", "softmax")
    tome = rows["reducer", "tome"]
    assert (tome["paper"], tome["arxiv"]) == ("Bolya et al., ICLR 2023", "2210.09461")


def test_refusals_are_what_check_says() -> None:
    [text] = refusals(MIXERS["shunted"])
    assert text == "Refuses 14×14 tokens and 3 heads (V3): shunted attention divides its heads in two; 3 is odd."
    assert refusals(MIXERS["efficient"]) == []


def test_the_page_has_a_heading_for_every_link_of_the_tree() -> None:
    text = page({})
    headings = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^### (.*)$", text, re.M)}
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert len(links) == len(ENTRIES) == len(headings)
    assert set(links) == headings


def test_the_page_says_what_is_not_supported() -> None:
    row = {"family": "mixer", "mechanism": "agent", "compile": "yes", "onnx": "ValueError: no such operator"}
    rows = [row, {**row, "mechanism": "afno", "onnx": "yes"}]
    text = page({"support": {"conditions": {"torch": "2.13"}, "rows": rows}})
    assert "| `agent` (mixer) | yes | ValueError: no such operator |" in text
    assert "`torch.compile`: yes; ONNX: ValueError: no such operator" in text
    assert "| `afno` (mixer)" not in text


@pytest.mark.parametrize(
    ("fast", "words"),
    [
        ((2.0, 0.8, 0.25), "faster than softmax attention from N=784 on. Speed over it, forward: 0.5 at 196, 1.2 at"),
        ((0.5, 0.5, 0.5), "faster than softmax attention at every length measured"),
        ((0.5, 2.0, 2.0), "not faster than softmax attention."),
    ],
)
def test_when_it_pays_follows_from_the_times(fast: tuple[float, ...], words: str) -> None:
    lengths = zip((196, 784, 3136), fast, strict=True)
    rows = [{"length": n, "fast": ratio, "fast_both": ratio / 2, "atom": "x(a=1)"} for n, ratio in lengths]
    text = when_it_pays(rows)
    assert words in text
    assert f"a training step {2 / fast[-1]:.1f} at 3136. Measured as `x(a=1)`." in text
    assert when_it_pays([]) == "When it pays: not measured."


def test_the_file_in_the_repository_is_what_make_docs_writes() -> None:
    record = DOCS / "mechanisms.json"
    written = page(json.loads(record.read_text(encoding="utf-8")) if record.exists() else {})
    assert (DOCS / "mechanisms.md").read_text(encoding="utf-8") == written, "run make docs"
