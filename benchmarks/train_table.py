"""Train a fixed sample of architectures over their full schedule: a table that searches can be tried on in seconds.

python benchmarks/train_table.py [--campaign runs/digits.yaml] [--architectures 320] [--repeated 0.34] [--workers 2]
                                 [--output benchmarks/tables/digits] [--minutes 60] [--set KEY=VALUE]

The sample is drawn from the campaign's space within its limits on costs that are known beforehand, always the same one.
Every architecture is trained with seed 0, the first share of them (--repeated) with seed 1 too. Stopped and started
again, it goes on. It writes

    table.json            space, shape of the pictures, how many of them for validation, the recipe
    architectures.jsonl   hash, code, genotype, params_m, macs_g, memory_mb of each
    curves.csv            hash, seed, epoch, loss, accuracy (validation), seconds
    tests.csv             hash, seed, accuracy on the test split after the last epoch
"""

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluators.cost import cost_metrics
from evaluators.data import Dataset
from evaluators.proxy_training import ProxyTraining, TrainingFailed, evaluate_accuracy
from nas.campaign import Campaign, load_campaign
from nas.genotype import Genotype
from nas.objective import Constraint
from nas.progress import duration
from nas.worker import dataset_of, recipe_of
from search_spaces.model import build
from search_spaces.vit import make_space

SEED = 0  # of the sample
CURVE = ("hash", "seed", "epoch", "loss", "accuracy", "seconds")
TEST = ("hash", "seed", "accuracy")
Row = dict[str, Any]
Source = tuple[Path, tuple[str, ...]]  # a campaign file and what overrides it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaign", type=Path, default=Path("runs/digits.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--architectures", type=int, default=320)
    parser.add_argument("--repeated", type=float, default=0.34)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/tables/digits"))
    parser.add_argument("--minutes", type=float, default=60.0)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    campaign = load_campaign(args.campaign, args.set)
    data = dataset_of(campaign)
    shape = {"image_size": data.image_size, "in_chans": data.in_chans, "classes": data.classes}
    rows = _architectures(campaign, shape, args.architectures)
    about = {"space": campaign.space.name, "shape": shape, "validation": len(data.val_y)}
    about["training"] = campaign.training.model_dump(mode="json")
    (args.output / "table.json").write_text(json.dumps(about) + "\n")
    (args.output / "architectures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = rows[: round(args.repeated * len(rows))]
    wanted = [(row, 0) for row in rows] + [(row, 1) for row in again]
    done = _done(args.output / "tests.csv")
    todo = [(row, seed) for row, seed in wanted if (row["hash"], seed) not in done]
    print(f"{len(wanted) - len(todo)} of {len(wanted)} trainings are there already", file=sys.stderr)
    _train_all(todo, args)


def _architectures(campaign: Campaign, shape: dict[str, int], count: int) -> list[Row]:
    """Distinct, and within the limits on exact costs."""
    space = make_space(campaign.space.name, **shape, fix=campaign.space.fix, narrow=campaign.space.narrow)
    rng, found = np.random.default_rng(SEED), dict[str, Row]()
    while len(found) < count:
        code = space.sample(rng)
        genotype = space.decode(code)
        costs = cost_metrics(genotype, **shape)
        if _allowed(costs, campaign.constraint_list):
            row = {"hash": genotype.hash(), "code": code, "genotype": genotype.to_json(), **costs}
            found.setdefault(genotype.hash(), row)
    return list(found.values())


def _allowed(costs: dict[str, float], constraints: tuple[Constraint, ...]) -> bool:
    return all(c.holds(costs[c.metric]) for c in constraints if c.metric in costs)


def _done(path: Path) -> set[tuple[str, int]]:
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {(row["hash"], int(row["seed"])) for row in csv.DictReader(file)}


def _train_all(todo: list[tuple[Row, int]], args: argparse.Namespace) -> None:
    """In processes of their own, each with one thread; a training is written when it is whole."""
    start, ended, left, source = time.monotonic(), 0, iter(todo), (args.campaign, tuple(args.set))
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        running = {_submit(pool, *each, source) for each in _first(left, args.workers)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                _write(args.output, *future.result())
                ended += 1
            spent = time.monotonic() - start
            print(
                f"\r{ended} of {len(todo)}, {duration(spent / ended * (len(todo) - ended))} left",
                end="",
                file=sys.stderr,
            )
            if spent < 60 * args.minutes:
                running |= {_submit(pool, *each, source) for each in _first(left, len(finished))}


def _first(left: Iterator[tuple[Row, int]], count: int) -> list[tuple[Row, int]]:
    return [each for _, each in zip(range(count), left, strict=False)]  # the range first: what is drawn is kept


def _submit(pool: ProcessPoolExecutor, row: Row, seed: int, source: Source) -> "Future[tuple[list[Row], Row]]":
    return pool.submit(train, row["hash"], row["genotype"], seed, source)


@cache
def _prepared(source: Source) -> tuple[Campaign, Dataset]:
    torch.set_num_threads(1)
    loaded = load_campaign(*source)
    return loaded, dataset_of(loaded)


def train(name: str, genotype: dict[str, Any], seed: int, source: Source) -> tuple[list[Row], Row]:
    """The learning curve and the accuracy on the test split; a training that fails has no accuracy."""
    campaign, data = _prepared(source)
    network = build(
        Genotype.from_json(genotype),
        image_size=data.image_size,
        in_chans=data.in_chans,
        classes=data.classes,
        seed=seed,
    )
    training = ProxyTraining(network, data, recipe_of(campaign), device="cpu", seed=seed)
    curve: list[Row] = []
    try:
        for point in training.run():
            row = {"epoch": point.epoch, "loss": round(point.loss, 5), "accuracy": round(point.accuracy, 5)}
            curve.append({"hash": name, "seed": seed, **row, "seconds": round(point.seconds, 2)})
    except TrainingFailed:
        return curve, {"hash": name, "seed": seed, "accuracy": ""}
    assert data.test_x is not None and data.test_y is not None, "a table needs a test split"  # noqa: PT018
    accuracy = evaluate_accuracy(training.network, data.test_x, data.test_y, data, device="cpu", batch_size=256)
    return curve, {"hash": name, "seed": seed, "accuracy": round(accuracy, 5)}


def _write(folder: Path, curve: list[Row], test: Row) -> None:
    for name, fields, rows in (("curves.csv", CURVE, curve), ("tests.csv", TEST, [test])):
        path = folder / name
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fields, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
