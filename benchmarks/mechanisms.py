"""Time and memory of every mechanism beside PyTorch's fused attention, and beside the authors' modules.

    python benchmarks/mechanisms.py [--device cpu|cuda] [--compile] [--mechanisms a,b] [--lengths 196,784,3136,12544]

A table in Markdown on stdout. Layers as the authors' modules were timed: 196 tokens of 192 channels in 3 heads (4 where
the number must be even), 8 images; longer maps of 64 channels in 2 heads, 25,088 tokens a batch, so that a mechanism
that is linear takes the same time at every length. "× fused" is the time over that of softmax attention in the same
process, their turns interleaved: below 1 is faster. "× authors" divides it by the same ratio of the authors' module.
The exponent is that of N in the time of one image, fitted from 784 tokens on. Memory is the peak of one training step.

--write updates docs/mechanisms.json, which `make docs` turns into docs/mechanisms.md and its picture.
--support tries torch.compile(fullgraph=True) and ONNX Runtime instead of timing.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch
from mechanism_cases import Case, cases, is_linear
from mechanism_support import support_rows
from mechanism_table import compare, support_table, table, warnings
from mechanism_timing import Settings

from evaluators.latency.measure import device_name
from nas.errors import UserError

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "docs" / "mechanisms.json"
OFFICIAL = ROOT.parent / "shared" / "oracles" / "official_times.csv"
LENGTHS = "196,784,3136,12544"
Row = dict[str, Any]


def main() -> None:
    options = _options()
    names = [name for name in options.mechanisms.split(",") if name]
    try:
        sys.exit(try_support(names, options) if options.support else time_all(names, options))
    except UserError as error:
        print(f"mechanisms.py: {error}", file=sys.stderr)
        sys.exit(2)


def time_all(names: list[str], options: argparse.Namespace) -> int:
    """The exit status: 1 with --check where something misses an aim."""
    settings = Settings(
        device=options.device, threads=options.threads, rounds=options.rounds, seconds=options.seconds,
        compile=options.compile, bfloat16=options.bfloat16,
    )  # fmt: skip
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device: PyTorch sees no CUDA device here; cpu is there")
    found = cases(_lengths(options.lengths), names, options.batch)
    rows = compare(list(_progress(run(case, settings, options.timeout) for case in found)), options.official)
    flags = warnings(rows)
    print("\n".join([table(rows), "", f"{len(flags)} to look at", *(f"- {flag}" for flag in flags)]))
    _keep(options, part_of(settings), rows, conditions(settings))
    return int(options.check and bool(flags))


def try_support(names: list[str], options: argparse.Namespace) -> int:
    rows = list(_progress(support_rows(names, options.backend)))
    print(support_table(rows))
    _keep(options, "support", rows, {"torch": torch.__version__, "backend": options.backend})
    return 0


def _lengths(text: str) -> list[int]:
    if not all(word.strip().isdigit() for word in text.split(",")):
        raise UserError(f"--lengths: expected numbers of tokens such as {LENGTHS}, found {text}")
    return [int(word) for word in text.split(",")]


def run(case: Case, settings: Settings, timeout: float) -> Row:
    """One row, measured in a process of its own; a failure is a row too."""
    row = {**case.to_json(), "mechanism": case.kind, "linear": is_linear(case)}
    if case.refused:
        return row
    words = [json.dumps(case.to_json()), json.dumps(asdict(settings))]
    child = [sys.executable, str(Path(__file__).with_name("mechanism_timing.py")), *words]
    try:
        done = subprocess.run(child, capture_output=True, text=True, timeout=timeout, env=_environment(settings))
    except subprocess.TimeoutExpired:
        return {**row, "error": f"no result within {timeout:g} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {**row, "error": lines[-1][:200] if lines else f"exit status {done.returncode}"}
    return {**row, **json.loads(done.stdout.splitlines()[-1])}


def _environment(settings: Settings) -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": str(settings.threads)}


def part_of(settings: Settings) -> str:
    """Where these figures stand in docs/mechanisms.json: cpu, cuda, cpu-compile."""
    words = (settings.device, settings.compile and "compile", settings.bfloat16 and "bfloat16")
    return "-".join(filter(None, words))  # type: ignore[arg-type]


def conditions(settings: Settings) -> Row:
    return {**asdict(settings), "machine": device_name(settings.device), "torch": torch.__version__}


def _progress(rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        words = row.get("error") or ("refused" if row.get("refused") else "done")
        print(f"{row['family']} {row['mechanism']} {row.get('length', '')} {words}", file=sys.stderr, flush=True)
        yield row


def _keep(options: argparse.Namespace, part: str, rows: list[Row], how: Row) -> None:
    """Into --json alone, and with --write in place of the same rows of docs/mechanisms.json."""
    measured = {"conditions": {**how, "date": date.today().isoformat()}, "rows": [_rounded(row) for row in rows]}
    if options.json:
        options.json.write_text(json.dumps({part: measured}, indent=1, ensure_ascii=False) + "\n")
    if options.write:
        record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        record[part] = merged(record.get(part, {"rows": []}), measured)
        RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def merged(old: Row, new: Row) -> Row:
    """The new rows, and those of the old that were not measured again; none of the old if made in another way."""
    again = {_key(row) for row in new["rows"]}
    kept = old["rows"] if _how(old) == _how(new) else []
    rows = new["rows"] + [row for row in kept if _key(row) not in again]
    return {**new, "rows": sorted(rows, key=lambda row: tuple(map(str, _key(row))))}


def _how(part: Row) -> Row:
    """Not when, and not for how long."""
    return {k: v for k, v in part.get("conditions", {}).items() if k not in ("date", "rounds", "seconds")}


def _key(row: Row) -> tuple[Any, ...]:
    return row["family"], row["mechanism"], row.get("official", ""), row.get("length", 0)


def _rounded(row: Row) -> Row:
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--compile", action="store_true", help="torch.compile both, the mechanism and fused attention")
    parser.add_argument("--bfloat16", action="store_true", help="under autocast")
    parser.add_argument("--mechanisms", default="", metavar="A,B", help="these alone")
    parser.add_argument("--lengths", default=LENGTHS, metavar="N,N", help=f"tokens of square maps; default {LENGTHS}")
    parser.add_argument("--batch", type=int, help="images, in place of the numbers above")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=8, help="of measuring per mechanism, length and direction")
    parser.add_argument("--timeout", type=float, default=600, help="seconds after which one measurement is given up")
    parser.add_argument("--official", type=Path, default=OFFICIAL, metavar="CSV", help="times of the authors' modules")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--write", action="store_true", help="update docs/mechanisms.json")
    parser.add_argument("--check", action="store_true", help="exit with status 1 where an aim is missed")
    parser.add_argument("--support", action="store_true", help="try compile and ONNX instead of timing")
    parser.add_argument("--backend", default="inductor", help="of torch.compile for --support")
    return parser.parse_args()


if __name__ == "__main__":
    main()
