"""Truths that a report's limits are held against: cells that compute the same, noise taken out, gains by hand."""

from itertools import product

import numpy as np
import pytest
from limited_problem import TwoDevices, history_within, limits_at
from relaxed_limits import true_gains
from sampler_peers import trial_of
from sampler_tables import Table
from table_noise import function_of, smoothed

EDGES = ((0, 1), (0, 2), (1, 2))
CELLS = tuple(product(("none", "skip_connect", "conv", "pool"), repeat=3))
NOISE = 0.01


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Of every cell, by what it computes."""
    return np.array([0.5 + 0.02 * function_of(c, EDGES).count("conv") for c in CELLS])


@pytest.fixture(scope="module")
def table(truth: np.ndarray) -> Table:
    costs = {"a": np.arange(len(CELLS)) + 1.0, "b": 100.0 - np.arange(len(CELLS))}
    noise = np.random.default_rng(0).normal(0, NOISE, len(CELLS))
    return Table(name="cells", choices=CELLS, accuracy=truth + noise, costs=costs, edges=EDGES)


def test_cells_that_compute_the_same_are_told_by_their_text() -> None:
    around = function_of(("conv", "none", "skip_connect"), EDGES)
    assert (
        around == function_of(("skip_connect", "none", "conv"), EDGES) == function_of(("none", "conv", "pool"), EDGES)
    )
    assert function_of(("none", "none", "conv"), EDGES) == ""
    assert function_of(("conv", "pool", "skip_connect"), EDGES) != around


def test_without_noise_a_table_is_nearer_to_the_truth(table: Table, truth: np.ndarray) -> None:
    found = smoothed(table)
    before, after = (np.sqrt(((a - truth) ** 2).mean()) for a in (table.accuracy, found.accuracy))
    assert after < 0.8 * before
    assert np.sqrt((found.noise**2).mean()) == pytest.approx(NOISE, rel=0.3)


def test_gains_of_a_table_are_those_counted_by_hand(table: Table) -> None:
    problem = TwoDevices(source=table, device="a", second="b")
    share, limit = next(limits_at(problem, "latency_ms", [0.3]))
    assert (share, limit.bound) == (0.3, 20.0)  # at 22 ms two more cells are within
    accuracy = np.where(np.arange(len(CELLS)) == 20, 0.9, 0.5)
    history = [trial_of(problem, place, place) for place in range(12)]
    volume, best = true_gains(problem, limit, history, accuracy)
    assert best == pytest.approx(0.4)
    assert volume == pytest.approx(0)  # beyond the reference point of twelve cheap trials


def test_campaigns_keep_to_their_limit(table: Table) -> None:
    problem = TwoDevices(source=table, device="a", second="b")
    _, limit = next(limits_at(problem, problem.beside, [0.3]))
    history = history_within(problem, limit, 14, 0)
    assert len(history) == 14
    assert all(limit.holds(t.values["latency_ms@b"]) for t in history)
