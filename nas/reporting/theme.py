"""How every chart looks, and how numbers are written: one size of type, quiet axes, units beside values."""

import math
from typing import Any

import altair as alt
import pandas as pd

from nas.objective import METRICS, metric_of, split_name

INK, QUIET, GRID, ACCENT = "#1f2933", "#616e7c", "#e4e7eb", "#0b4f8a"
FONT = "Inter, Helvetica Neue, Helvetica, Arial, sans-serif"
CONFIG: dict[str, Any] = {
    "background": "white",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": QUIET, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 600,
        "gridColor": GRID, "domainColor": "#9aa5b1", "tickColor": "#9aa5b1", "labelLimit": 150, "titlePadding": 8,
    },
    "legend": {"labelColor": INK, "labelFontSize": 12, "titleColor": QUIET, "titleFontSize": 12, "labelLimit": 200},
    "header": {"labelColor": INK, "titleColor": INK},
}  # fmt: skip
NAMES = {
    "latency_ms": "Latency",
    "macs_g": "MACs",
    "params_m": "Parameters",
    "memory_mb": "Memory",
    "energy_mj": "Energy",
}  # beside values with units
_SMALLER = {"GMAC": "MMAC", "M": "k", "MB": "kB", "ms": "µs", "mJ": "µJ"}
NARROW = 560  # below this width in pixels legends take fewer columns and crowded labels go


def finish(chart: alt.Chart | alt.LayerChart | alt.FacetChart, *, height: int) -> dict[str, Any]:
    """The Vega-Lite specification of a chart that takes the width of its box."""
    whole = chart.properties(width="container", height=height).configure(**CONFIG)
    return whole.to_dict(validate=False)  # a third of a report's time; the tests validate every chart


def rows(table: pd.DataFrame) -> alt.InlineData:
    """The table inside the specification; missing and infinite numbers become null."""
    finite = table.replace([math.inf, -math.inf], math.nan).astype(object)
    records = finite.where(finite.notna(), None).to_dict("records")
    return alt.InlineData(values=[{str(k): v for k, v in record.items()} for record in records])


def legend(columns_wide: int, columns_narrow: int = 2, below: bool = False) -> alt.Legend:
    """Above or below the chart, in as many columns as the box carries."""
    # `0 * width` makes the expression follow a resize
    columns = alt.ExprRef(expr=f"0 * width + containerSize()[0] < {NARROW} ? {columns_narrow} : {columns_wide}")
    return alt.Legend(orient="bottom" if below else "top", columns=columns, title=None, symbolOpacity=1)


def name_of(metric: str) -> str:
    name, device = split_name(metric)
    return f"{NAMES.get(name, METRICS[name].label)}{f', {device}' if device else ''}"


def noun_of(metric: str) -> str:
    """The name inside a sentence: latency, parameters, MACs, latency on phone."""
    name, device = name_of(split_name(metric)[0]), split_name(metric)[1]
    return f"{name if name[1:2].isupper() else name.lower()}{f' on {device}' if device else ''}"


def field(name: str, kind: str = "Q") -> str:
    """A column in Altair's shorthand; a dot, as a device's name may have, is part of the name and no path."""
    return f"{name.replace('.', chr(92) + '.')}:{kind}"


def axis_format(metric: str) -> str:
    return ".0%" if metric == "accuracy" else "~g"


def scale_of(values: pd.Series, metric: str) -> alt.Scale:
    """Logarithmic for a cost that spans more than a factor of ten, else linear around the values."""
    low, high = float(values.min()), float(values.max())
    if metric != "accuracy" and is_wide(low, high):
        return alt.Scale(type="log", domain=[low / 1.15, high * 1.15], nice=False)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    bottom = low - pad if low < 0 else max(0.0, low - pad)
    top = min(1.0, high + pad) if metric == "accuracy" else high + pad
    return alt.Scale(domain=[bottom, max(top, high)], nice=False, zero=False)


def is_wide(low: float, high: float) -> bool:
    return low > 0 and high / low > 10


def number(metric: str, value: float | None) -> str:
    """A measured value with its unit: 93.4 %, 1.27 ms, 0.412 M; a dash where nothing was measured."""
    if value is None or not math.isfinite(value):
        return "–"
    if metric == "accuracy":
        return f"{100 * value:.1f} %"
    value, unit = _scaled(value, metric_of(metric).unit)
    return f"{_three_digits(value)} {unit}"


def percent(share: float | None) -> str:
    """A probability: 3 %, below 1 %, above 99 %; empty where there is none."""
    if share is None:
        return ""
    if 0 < share < 0.01:
        return "below 1 %"
    return "above 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def interval(metric: str, low: float, high: float) -> str:
    """Two values and one unit: 1.21 to 1.37 ms."""
    first, last = number(metric, low), number(metric, high)
    value, unit = first.rsplit(" ", 1)
    return f"{value} to {last}" if last.endswith(f" {unit}") else f"{first} to {last}"


def _scaled(value: float, unit: str) -> tuple[float, str]:
    """A thousandth of the unit where the value is below a tenth of it."""
    return (1000 * value, _SMALLER[unit]) if 0 < abs(value) < 0.1 and unit in _SMALLER else (value, unit)


def _three_digits(value: float) -> str:
    """Three significant digits without an exponent."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def duration(seconds: float) -> str:
    """42 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
