"""Tables as spaces: cells whose edges matter or not, shares of the hypervolume, both counted by hand."""

from itertools import product

import numpy as np
import pytest
from sampler_tables import CellProblem, TableSpace, read_table

OPERATIONS = ("none", "skip", "conv")


@pytest.fixture
def table(tmp_path):
    """Cells of three nodes, edges 0-1, 0-2 and 1-2: more convolutions are better and slower."""
    rows = ["arch_str,accuracy,lat_ms__phone"]
    for a, b, c in product(OPERATIONS, repeat=3):
        convolutions = (a, b, c).count("conv")
        rows.append(f"|{a}~0|+|{b}~0|{c}~1|,{20 + 20 * convolutions},{1.0 + convolutions}")
    path = tmp_path / "cells.csv"
    path.write_text("\n".join(rows))
    return read_table(path, "accuracy")


def test_a_table_is_read_as_it_was_written(table):
    assert (table.name, len(table.choices), table.edges) == ("cells", 27, ((0, 1), (0, 2), (1, 2)))
    assert table.accuracy.max() == pytest.approx(0.8)
    assert table.costs["phone"].tolist()[:3] == [1.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("cell", "matter"),
    [
        (("conv", "conv", "conv"), {"op0", "op1", "op2"}),
        (("none", "conv", "conv"), {"op0", "op1"}),  # node 1 is fed by nothing
        (("conv", "conv", "none"), {"op1", "op2"}),  # nobody hears node 1
        (("none", "skip", "none"), {"op1"}),
    ],
)
def test_only_edges_between_input_and_output_matter(table, cell, matter):
    space = TableSpace(table)
    assert space.active({f"op{i}": operation for i, operation in enumerate(cell)}) == matter


def test_children_are_rows_of_the_table(table):
    space, rng = TableSpace(table), np.random.default_rng(0)
    for _ in range(20):
        a, b = space.sample(rng), space.sample(rng)
        assert {space.decode(space.mutate(a, rng)), space.decode(space.crossover(a, b, rng))} <= set(table.choices)


def test_the_true_front_has_the_whole_hypervolume(table):
    problem = CellProblem(source=table, device="phone")
    best = [problem.place[cell] for cell in (("none",) * 3, ("none", "none", "conv"), ("none", "conv", "conv"))]
    assert problem.share([*best, problem.place["conv", "conv", "conv"]]) == pytest.approx(1)
    assert problem.share(best[:1]) == pytest.approx(0)
    assert problem.share(best[:2]) == pytest.approx(2 / 3)
