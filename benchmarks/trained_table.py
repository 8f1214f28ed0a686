"""A folder that train_table.py filled: architectures of a real space with what their trainings gave, joined.

What stands in its files is said there; those in CSV may be compressed (.csv.gz). Only
trainings that went over the whole schedule count, and only architectures of which one did with the first seed.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from nas.errors import UserError
from nas.genotype import Genotype
from nas.objective import COSTS
from search_spaces.space import Code, Space
from search_spaces.vit import make_space

FIRST = 0  # the seed that all architectures were trained with
ABOUT, ARCHITECTURES, CURVES, TESTS = "table.json", "architectures.jsonl", "curves.csv", "tests.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One row: its code in the space it was drawn from, and its exact costs."""

    hash: str
    code: Code
    genotype: Genotype
    costs: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TrainedTable:
    """rows: those trained with the first seed. curves: hash, seed, epoch, loss, accuracy, seconds. tests: one line a
    training. missing: architectures of the folder without a whole training. shape: image_size, in_chans, classes.
    pictures: of the validation split.
    """

    name: str
    space: Space
    shape: dict[str, int]
    pictures: int
    rows: tuple[Architecture, ...]
    curves: pd.DataFrame
    tests: pd.DataFrame
    missing: int

    @cached_property
    def epochs(self) -> int:
        return int(self.curves["epoch"].max())

    def frame(self) -> pd.DataFrame:
        """In the form of fidelity_tables.py: trial, epoch, accuracy, seed and the costs."""
        costs = pd.DataFrame([{"hash": r.hash, "trial": i, **r.costs} for i, r in enumerate(self.rows)])
        return self.curves[["hash", "epoch", "accuracy", "seed"]].merge(costs, on="hash").drop(columns="hash")

    def wide(self, seed: int = FIRST) -> pd.DataFrame:
        """Validation accuracies of one seed: a row for every architecture trained with it, a column for every epoch."""
        chosen = self.curves[self.curves["seed"] == seed]
        return chosen.pivot(index="hash", columns="epoch", values="accuracy")


def read_trained(folder: Path) -> TrainedTable:
    """Raises UserError where a file is missing or no training went over the whole schedule."""
    about = json.loads(_file(folder, ABOUT).read_text())
    curves, tests = _csv(folder, CURVES), _csv(folder, TESTS)
    curves = curves[curves.groupby(["hash", "seed"])["epoch"].transform("size") == curves["epoch"].max()]
    rows = [_architecture(line) for line in _file(folder, ARCHITECTURES).read_text().splitlines()]
    done = set(curves.loc[curves["seed"] == FIRST, "hash"])
    kept = tuple(r for r in rows if r.hash in done)
    if not kept:
        raise UserError(f"{folder / CURVES}: no architecture of {ARCHITECTURES} was trained over the whole schedule")
    return TrainedTable(
        name=folder.name, shape=about["shape"], pictures=about["validation"],
        space=make_space(about["space"], **about["shape"]), rows=kept,
        curves=curves[curves["hash"].isin(done)], tests=tests, missing=len(rows) - len(kept),
    )  # fmt: skip


def is_trained(folder: Path) -> bool:
    return (folder / ARCHITECTURES).is_file()


def _architecture(line: str) -> Architecture:
    record = json.loads(line)
    return Architecture(
        hash=record["hash"], code=record["code"], genotype=Genotype.from_json(record["genotype"]),
        costs={name: record[name] for name in COSTS},
    )  # fmt: skip


def _csv(folder: Path, name: str) -> pd.DataFrame:
    packed = folder / f"{name}.gz"
    return pd.read_csv(packed if packed.is_file() else _file(folder, name))


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise UserError(f"{folder}: {name} is missing; benchmarks/train_table.py --output {folder} writes it")
    return folder / name
