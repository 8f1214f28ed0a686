"""What benchmarks/mechanisms.py makes of its figures: ratios, exponents, what misses an aim, and tables in Markdown."""

import math
from pathlib import Path
from typing import Any

from mechanism_cases import official_times

FIT_FROM, STEEPEST = 784, 1.15  # tokens of the shortest map in a fit; the exponent that still counts as linear
NOISE = {196: 1.4}  # how far the authors' figures can be off; a tenth at other lengths
OTHER_NOISE = 1.1
Row = dict[str, Any]
COLUMNS = {
    "mechanism": "mechanism", "length": "N", "forward": "forward (ms)", "fast": "× fused", "both": "with backward (ms)",
    "fast_both": "× fused", "memory": "memory (MB)", "authors": "× authors", "exponent": "exponent",
}  # fmt: skip


def compare(rows: list[Row], official: Path | None) -> list[Row]:
    """Adds ratios to fused attention (`fast`, `fast_both`), to the authors' module, and exponents."""
    theirs = official_times(official)
    for row in (row for row in rows if "forward" in row):
        row["fast"], row["fast_both"] = row["forward"] / row["fused_forward"], row["both"] / row["fused_both"]
        found = theirs.get((row["official"], row["length"]))
        if found:
            row["authors"], row["authors_both"] = row["fast"] / found["forward"], row["fast_both"] / found["both"]
    for row in rows:
        alike = [r for r in rows if _setting(r) == _setting(row) and r["length"] >= FIT_FROM and "forward" in r]
        if row in alike and len({r["length"] for r in alike}) > 1:
            row["exponent"], row["exponent_both"] = exponent(alike, "forward"), exponent(alike, "both")
    return rows


def _setting(row: Row) -> tuple[str, ...]:
    return row["family"], row["official"], row["atom"]


def exponent(rows: list[Row], key: str) -> float:
    """Slope of log time of one image over log N, by least squares."""
    points = [(math.log(row["length"]), math.log(row[key] / row["batch"])) for row in rows]
    x_mean, y_mean = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / sum((x - x_mean) ** 2 for x, _ in points)


def warnings(rows: list[Row]) -> list[str]:
    """What misses an aim: slower than the authors' module beyond the noise, steeper than linear, or failed."""
    found = []
    for row in rows:
        name, noise = f"{row['atom']} at {row['length']}", NOISE.get(row["length"], OTHER_NOISE)
        if "error" in row:
            found.append(f"{name} failed: {row['error']}")
        for key, word in (("authors", "forward"), ("authors_both", "with backward")):
            if row.get(key, 0) > noise:
                found.append(f"{name} takes {row[key]:.2f} times the authors' time {word}")
    steep = {row["atom"]: row["exponent"] for row in rows if row["linear"] and row.get("exponent", 0) >= STEEPEST}
    return found + [f"{atom} grows with N to the power of {value:.2f}" for atom, value in steep.items()]


def table(rows: list[Row]) -> str:
    lines = [_line(COLUMNS.values()), "|---|" + "---:|" * (len(COLUMNS) - 1)]
    return "\n".join(lines + [_line(_cells(row)) for row in rows])


def _cells(row: Row) -> list[str]:
    start = [f"`{row['atom']}`", str(row["length"])]
    if "forward" not in row:
        return [*start, row.get("error") or f"refused: {row['refused']}", *[""] * (len(COLUMNS) - 3)]
    memory = "" if row["memory_mb"] is None else f"{row['memory_mb']:.0f}"
    return [
        *start, f"{row['forward']:.2f}", f"{row['fast']:.2f}", f"{row['both']:.2f}", f"{row['fast_both']:.2f}", memory,
        _pair(row, "authors"), _pair(row, "exponent"),
    ]  # fmt: skip


def _pair(row: Row, key: str) -> str:
    """Forward, and with backward."""
    return f"{row[key]:.2f}, {row[f'{key}_both']:.2f}" if key in row else ""


def support_table(rows: list[Row]) -> str:
    """What does not work first."""
    words = [[r["family"], f"`{r['mechanism']}`", r["compile"], r["onnx"]] for r in rows]
    words.sort(key=lambda cells: cells[2:] == ["yes", "yes"])
    return "\n".join([_line(["family", "mechanism", "compile", "ONNX"]), "|---" * 4 + "|", *map(_line, words)])


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"
