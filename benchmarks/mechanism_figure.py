"""The picture of docs/mechanisms.json: time of every mechanism over that of fused softmax attention, on two maps.

    python benchmarks/mechanism_figure.py [docs/mechanisms.json] [docs/images/mechanisms.png]

`make docs` draws it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from nas.reporting.theme import ACCENT, CONFIG, INK, QUIET, rows
from search_spaces.catalog import entries
from search_spaces.catalog_page import PART, measurements
from search_spaces.taxonomy import BASELINE

ROOT = Path(__file__).parents[1]
LENGTHS = {196: "196 tokens", 3136: "3,136 tokens"}
COLOURS = ["#d9822b", ACCENT]
WIDTH, STEP, SCALE = 640, 17, 2  # pixels: of the plot, of a row; dots per pixel


def times_table(record: dict[str, Any]) -> pd.DataFrame:
    """One row per mixer and length: `ratio` of forward times, mechanism over softmax attention; cheapest first."""
    found = [
        {"mechanism": entry.name, "length": row["length"], "map": LENGTHS[row["length"]], "ratio": row["fast"]}
        for entry in entries()
        if entry.family == "mixer" and entry.taxonomy != BASELINE
        for row in measurements(record, entry)
        if "fast" in row and row["length"] in LENGTHS
    ]
    table = pd.DataFrame(found, columns=["mechanism", "length", "map", "ratio"])
    longest = table.sort_values("length").groupby("mechanism")["ratio"].last()
    return table.assign(rank=table["mechanism"].map(longest)).sort_values(["rank", "length"], ignore_index=True)


def draw_times(table: pd.DataFrame, words: str) -> dict[str, Any]:
    """A row per mechanism, a dot per length, on a logarithmic axis; the line at 1 is softmax attention."""
    order = list(dict.fromkeys(table["mechanism"]))
    y = alt.Y("mechanism:N", sort=order, title=None, axis=alt.Axis(labelColor=INK, grid=True, ticks=False))
    ends = [table["ratio"].min() / 1.3, table["ratio"].max() * 1.3]
    ticks = [t for t in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if ends[0] <= t <= ends[1]]
    axis = alt.Axis(values=ticks, format="~g", orient="top", titleAnchor="start")
    x = alt.X("ratio:Q", scale=alt.Scale(type="log", domain=ends, nice=False), axis=axis, title=words)
    key = alt.Legend(orient="top", title=None, symbolOpacity=1)
    colour = alt.Color("map:N", scale=alt.Scale(domain=list(LENGTHS.values()), range=COLOURS), legend=key)
    data = rows(table)
    span = alt.Chart(data).mark_line(color="#c3ccd5", strokeWidth=2).encode(x=x, y=y, detail="mechanism:N")
    dots = alt.Chart(data).mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, color=colour)
    even = alt.Chart(rows(pd.DataFrame({"at": [1]}))).mark_rule(color=QUIET, strokeDash=[4, 3]).encode(x="at:Q")
    whole = alt.layer(even, span, dots).properties(width=WIDTH, height=alt.Step(STEP)).configure(**CONFIG)
    return whole.to_dict() | {"padding": 14}


def main(record: Path, target: Path) -> None:
    read = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    table = times_table(read)
    if table.empty:
        print(f"no picture: {record} holds no times; python benchmarks/mechanisms.py --write", file=sys.stderr)
        return
    how = read[PART]["conditions"]
    words = f"Forward time over that of softmax attention (fused kernel, {how['threads']} CPU threads); left is faster"
    version = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    svg = vl_convert.vegalite_to_svg(draw_times(table, words), vl_version=version)
    target.write_bytes(vl_convert.svg_to_png(svg, scale=SCALE))


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:]]
    defaults = [ROOT / "docs" / "mechanisms.json", ROOT / "docs" / "images" / "mechanisms.png"]
    main(*[*paths, *defaults[len(paths) :]])
