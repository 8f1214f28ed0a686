"""The key below the front's picture: what its marks mean, for a reader who sees the picture alone."""

from typing import Any

import altair as alt

from nas.reporting.theme import INK, QUIET, legend

WHISKERS = "M-1.3,-0.5L-1.3,0.5M-1.3,0L1.3,0M1.3,-0.5L1.3,0.5"
PALE = "#c3cad2"
# role -> words, shape, size in square pixels, fill, stroke
MARKS = {
    "front": ("front", "circle", 130, QUIET, INK),
    "dominated": ("other trials", "circle", 60, PALE, PALE),
    "infeasible": ("breaks a constraint", "circle", 50, "white", QUIET),
    "outside": ("beyond the axes", "triangle-down", 80, PALE, PALE),
    "reference": ("reference networks", "diamond", 150, QUIET, INK),
    "interval": ("90 % interval", WHISKERS, 120, "white", QUIET),
}


def key(present: set[str]) -> alt.Chart:
    """A layer that draws nothing but the legend of the marks that are present."""
    looks = [look for role, look in MARKS.items() if role in present]
    words, *ranges = (list(column) for column in zip(*looks, strict=True))
    below = legend(len(looks), below=True)
    channels: list[dict[str, Any]] = [
        {"scale": alt.Scale(type="ordinal", domain=words, range=r), "legend": below} for r in ranges
    ]
    shape, size, fill, stroke = channels
    nothing = alt.Chart(alt.InlineData(values=[{"mark": words[0]}])).mark_point(strokeWidth=1).transform_filter("false")
    return nothing.encode(
        shape=alt.Shape("mark:N", **shape), size=alt.Size("mark:N", **size),
        fill=alt.Fill("mark:N", **fill), stroke=alt.Stroke("mark:N", **stroke),
    )  # fmt: skip
