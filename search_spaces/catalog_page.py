"""docs/mechanisms.md, written from the registries and from what was measured.

    python -m search_spaces.catalog_page docs/mechanisms.json docs/mechanisms.md

`make docs` writes it.
"""

import json
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from search_spaces.catalog import AROUND, Entry, entries
from search_spaces.taxonomy import BASELINE, CLASSES

Row = dict[str, Any]
Record = dict[str, Any]
PART = "cpu"  # of the record: which measurements the page speaks of
PAYS = 1.05  # times as fast as softmax attention; nearer to 1 is no difference
ABOUT = {BASELINE: "what the five classes set out to improve", AROUND: "what stands beside any of them"} | CLASSES
INTRODUCTION = """# Mechanisms

Everything that a network can be made of, by class of the review's taxonomy (arXiv 2403.19882), group and name. Written
by `make docs` from the registry and from `docs/mechanisms.json`; `nas list mechanisms` shows the same in short, and
[own_mechanism.md](own_mechanism.md) says how to add one from another package.

N tokens of C channels in h heads; V1, V2 and so on are rules of validity (`search_spaces/rules.py`). Each example is a
line of a stage, or of the network, in an architecture config; in a campaign the same words go below `space.fix` or
`space.narrow`, such as `stage1.mixer_a: window(divisions=4)`."""
FIGURES = """![Time of every mechanism over that of softmax attention](images/mechanisms.png)

Figures: one layer with its projections against one layer of softmax attention in PyTorch's fused kernel, in the same
process; {machine}, {threads} threads, torch {torch}, {date} (`python benchmarks/mechanisms.py --write`). 196 tokens of
192 channels in 3 heads, longer maps of 64 channels in 2."""
TRIED = """## torch.compile and ONNX

{count} components were tried alone, each in its default setting, with torch {torch}: as one graph of
`torch.compile(fullgraph=True)`, forward and backward, and written as ONNX and run in ONNX Runtime at another batch
(`python benchmarks/mechanisms.py --support --write`)."""


def page(record: Record) -> str:
    """The whole file; `record` is docs/mechanisms.json, empty before anything was measured."""
    found = entries()
    parts = [INTRODUCTION, measured_words(record), tree(found), unsupported(record)]
    for taxonomy, members in groupby(found, key=lambda e: e.taxonomy):
        parts += [f"## {_capital(taxonomy)}", *(section(entry, record) for entry in members)]
    return "\n\n".join(part for part in parts if part) + "\n"


def measured_words(record: Record) -> str:
    """How the figures came about, and their picture."""
    how = record.get(PART, {}).get("conditions")
    if how is None:
        return "Times have not been measured yet: `python benchmarks/mechanisms.py --write`."
    return FIGURES.format(**how)


def tree(found: list[Entry]) -> str:
    lines = ["## The taxonomy", ""]
    for taxonomy, members in groupby(found, key=lambda e: e.taxonomy):
        lines.append(f"- **{taxonomy}**: {ABOUT.get(taxonomy, '')}")
        for group, inside in groupby(members, key=lambda e: e.group):
            links = ", ".join(f"[`{e.name}`](#{_anchor(e.full_name)})" for e in inside)
            lines.append(f"  - {group}: {links}")
    return "\n".join(lines)


def unsupported(record: Record) -> str:
    """What torch.compile or ONNX does not take, in full, as it was tried."""
    part = record.get("support")
    if part is None:
        return ""
    bad = [r for r in part["rows"] if (r["compile"], r["onnx"]) != ("yes", "yes")]
    head = TRIED.format(count=len(part["rows"]), torch=part["conditions"]["torch"])
    if not bad:
        return f"{head} All of them work in both."
    rows = [f"| `{r['mechanism']}` ({r['family']}) | {r['compile']} | {r['onnx']} |" for r in bad]
    return "\n".join([f"{head} All work in both but:", "", "| component | compile | ONNX |", "|---|---|---|", *rows])


def section(entry: Entry, record: Record) -> str:
    facts = (f"- {fact}" for fact in _facts(entry, record))
    return "\n".join([f"### {entry.full_name}", "", _sentences(entry), "", *facts])


def _sentences(entry: Entry) -> str:
    texts = dict.fromkeys(filter(None, (entry.title, entry.sentence)))
    return " ".join(f"{text.removesuffix('.')}." for text in texts)


def _facts(entry: Entry, record: Record) -> Iterator[str]:
    if entry.source:
        yield f"Paper: {_linked(entry.source)}"
    if entry.complexity:
        yield f"Multiply-accumulates: {entry.complexity}"
    if entry.family == "mixer" and entry.taxonomy != BASELINE:
        yield when_it_pays(measurements(record, entry))
    elif entry.family != "mixer":
        yield from _share_of_attention(measurements(record, entry))
    yield from entry.constraints
    yield from _support(record, entry)
    yield f"Example: `{entry.key}: {entry.example}`{_searched(entry)}"


def measurements(record: Record, entry: Entry) -> list[Row]:
    """Its measurements in one setting, the one that was measured at most lengths."""
    settings: dict[str, list[Row]] = {}
    for row in _of(record, PART, entry):
        settings.setdefault(row["official"], []).append(row)
    most = max(settings.values(), key=lambda rows: sum("fast" in row for row in rows), default=[])
    return sorted(most, key=lambda row: row["length"])


def _of(record: Record, part: str, entry: Entry) -> list[Row]:
    rows = record.get(part, {}).get("rows", [])
    return [row for row in rows if (row["family"], row["mechanism"]) == (entry.family, entry.name)]


def when_it_pays(rows: list[Row]) -> str:
    """From which length on it is faster than softmax attention, by how much, and how it grows."""
    timed = [row for row in rows if "fast" in row]
    if not timed:
        return "When it pays: not measured."
    start = _faster_from({row["length"]: 1 / row["fast"] for row in timed})
    first = "not faster than softmax attention" if start is None else f"faster than softmax attention from N={start} on"
    if start == timed[0]["length"]:
        first = "faster than softmax attention at every length measured"
    figures = ", ".join(f"{1 / row['fast']:.1f} at {row['length']}" for row in timed)
    last = timed[-1]
    words = f"When it pays: {first}. Speed over it, forward: {figures}; a training step {1 / last['fast_both']:.1f} at "
    return f"{words}{last['length']}{_growth(timed)}. Measured as `{last['atom']}`."


def _share_of_attention(rows: list[Row]) -> Iterator[str]:
    """What a part beside the mixers takes; only those that the authors timed are measured."""
    figures = ", ".join(f"{row['fast']:.2f} at {row['length']}" for row in rows if "fast" in row)
    if figures:
        yield f"Time over that of a layer of softmax attention, forward: {figures}."


def _faster_from(speeds: dict[int, float]) -> int | None:
    """The shortest length at which, and at all longer ones, it is."""
    return min((n for n in speeds if all(s >= PAYS for m, s in speeds.items() if m >= n)), default=None)


def _growth(rows: list[Row]) -> str:
    found = [row["exponent"] for row in rows if "exponent" in row]
    return f"; time grows with N to the power of {found[-1]:.2f}" if found else ""


def _support(record: Record, entry: Entry) -> Iterator[str]:
    for row in _of(record, "support", entry):
        yield f"`torch.compile`: {row['compile']}; ONNX: {row['onnx']}"


def _searched(entry: Entry) -> str:
    choices = "; ".join(f"{key} {', '.join(values)}" for key, values in _short(entry).items())
    return f"; searched: {choices}" if choices else ""


def _short(entry: Entry) -> dict[str, list[str]]:
    """As a config writes them, fractions in three digits."""
    return {k: [_plain(v) for v in values] for k, values in entry.search.items()}


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _linked(source: str) -> str:
    return re.sub(r"(?:arXiv )?\b(\d{4}\.\d{5})\b", r"[arXiv \1](https://arxiv.org/abs/\1)", source)


def _anchor(heading: str) -> str:
    """As GitHub and the usual renderers make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def main(record: Path, target: Path) -> None:
    text = page(json.loads(record.read_text(encoding="utf-8")) if record.exists() else {})
    target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
