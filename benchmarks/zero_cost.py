"""Zero-cost scores on ViT-Bench-101: Kendall's tau with accuracies after full training, also given the networks' sizes.

    python benchmarks/zero_cost.py [--tables DIR] [--images FILE] [--limit N] [--batch 4] [--seeds 1]
        [--spaces PiT AutoFormer-Ti] [--keep FILE]

Scores are taken at 224 px on two mini-batches of real pictures with ten classes (CIFAR-10, enlarged): the tables' own
data (CIFAR-100, Flowers, Chaoyang) are not at hand. --keep writes scores as they come; started again, it goes on there.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
import vit_bench

from evaluators.data import load_dataset
from evaluators.zero_cost.base import SIZES, Batch
from evaluators.zero_cost.batches import mini_batches
from evaluators.zero_cost.compute import compute_scores
from evaluators.zero_cost.partial_tau import partial_tau

CLASSES = 10  # of the pictures
SHARED = Path(__file__).parents[2] / "shared" / "data"
Scores = dict[str, float]
Key = tuple[str, int, int]  # space, row, seed


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    missing = [path for path in (options.tables, options.images) if not path.exists()]
    if missing:
        sys.exit(f"{missing[0]}: no such file or folder")
    torch.set_num_threads(1)
    kept = _read(options.keep)
    for space in options.spaces:
        rows = vit_bench.rows(options.tables, space)[: options.limit]
        runs = [_score_rows(space, rows, seed, options, kept) for seed in range(options.seeds)]
        _print_table(space, rows, runs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, default=SHARED / "tables", help="folder of vit_bench_101_*.json")
    parser.add_argument("--images", type=Path, default=SHARED / "cifar10-test.parquet", help="pictures in ten classes")
    parser.add_argument("--spaces", nargs="+", choices=vit_bench.FILES, default=list(vit_bench.FILES))
    parser.add_argument("--limit", type=int, help="rows of each table")
    parser.add_argument("--batch", type=int, default=4, help="pictures in a mini-batch")
    parser.add_argument("--seeds", type=int, default=1, help="initial weights and pictures")
    parser.add_argument("--keep", type=Path, help="JSON lines of scores")
    return parser


def enlarged(path: Path, batch: int, seed: int) -> list[Batch]:
    """Two mini-batches at 224 px."""
    data = load_dataset(str(path), image_size=32, limit=1000)
    size = [vit_bench.IMAGE_SIZE] * 2
    drawn = mini_batches(data, size=batch, seed=seed)
    return [(F.interpolate(x, size=size, mode="bicubic"), y) for x, y in drawn]


def _score_rows(
    space: str, rows: list[dict[str, Any]], seed: int, options: argparse.Namespace, kept: dict[Key, Scores]
) -> list[Scores]:
    """Scores of all rows for one seed."""
    batches = enlarged(options.images, options.batch, seed)
    for index, row in enumerate(rows):
        key = (space, index, seed)
        if key not in kept:
            found = compute_scores(vit_bench.subject(row["arch"], CLASSES), batches, seed=seed)
            kept[key] = found.values
            _append(options.keep, {"key": key, "values": found.values, "errors": found.errors, "s": found.seconds})
            print(f"{space} {index + 1}/{len(rows)} seed {seed}", file=sys.stderr)
    return [kept[space, index, seed] for index in range(len(rows))]


def taus(scores: list[Scores], name: str, accuracy: list[float]) -> tuple[float | None, float | None]:
    """(tau, partial tau given the sizes) of one score over the rows that have it."""
    rows = [(s, a) for s, a in zip(scores, accuracy, strict=True) if name in s]
    x, y = [s[name] for s, _ in rows], [a for _, a in rows]
    given = [[s[size] for s, _ in rows] for size in SIZES if size != name]
    return partial_tau(x, y), partial_tau(x, y, given)


def _print_table(space: str, rows: list[dict[str, Any]], runs: list[list[Scores]]) -> None:
    """Tau / partial tau, means over the seeds."""
    print(f"\n{space}, {len(rows)} networks, {len(runs)} seeds: tau / partial tau given parameters, MACs and depth")
    print(" | ".join(["score", *vit_bench.TARGETS]))
    for name in dict.fromkeys(name for run in runs for scores in run for name in scores):
        columns = [[row[target] for row in rows] for target in vit_bench.TARGETS]
        cells = [_cell([taus(run, name, accuracy) for run in runs]) for accuracy in columns]
        print(" | ".join([name, *cells]))


def _cell(found: list[tuple[float | None, float | None]]) -> str:
    plain, partial = ([pair[i] for pair in found if pair[i] is not None] for i in (0, 1))
    return " / ".join(f"{fmean(values):.2f}" if values else "-" for values in (plain, partial))  # type: ignore[arg-type]


def _read(path: Path | None) -> dict[Key, Scores]:
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {tuple(line["key"]): line["values"] for line in lines}  # type: ignore[misc]


def _append(path: Path | None, line: dict[str, Any]) -> None:
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
