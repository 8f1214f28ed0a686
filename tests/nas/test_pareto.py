"""Fronts and hypervolumes against brute force, the knee against curves whose knee is known."""

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas.pareto import (
    crowding,
    front_indices,
    hypervolume,
    hypervolume_history,
    knee_index,
    ranks,
    reference_point,
    worst_inlier,
)

# few distinct values, so that ties and duplicates are common
SHAPES = st.tuples(st.integers(1, 25), st.integers(1, 3))  # (trials, objectives)
TABLES = arrays(float, SHAPES, elements=st.integers(0, 6))


def dominates(a, b):
    return bool((a <= b).all() and (a < b).any())


def cells_below(table, reference):
    """Unit cells of the integer grid that some row dominates: the hypervolume of integer rows."""
    axes = np.meshgrid(*[np.arange(r) for r in reference], indexing="ij")
    cells = np.stack([a.ravel() for a in axes], axis=1)
    return sum(any((row <= cell).all() for row in table) for cell in cells)


@given(TABLES)
@settings(max_examples=60, deadline=None)
def test_the_front_is_what_nothing_dominates(table):
    rows = range(len(table))
    free = [i for i in rows if not any(dominates(table[j], table[i]) for j in rows)]
    first = [i for i in free if not any((table[j] == table[i]).all() for j in free if j < i)]
    assert front_indices(table).tolist() == first


@given(TABLES)
@settings(max_examples=60, deadline=None)
def test_ranks_peel_one_front_after_another(table):
    expected, left, rank = np.zeros(len(table), int), list(range(len(table))), 0
    while left:
        front = [i for i in left if not any(dominates(table[j], table[i]) for j in left)]
        expected[front] = rank
        left, rank = [i for i in left if i not in front], rank + 1
    assert ranks(table).tolist() == expected.tolist()


@given(TABLES)
@settings(max_examples=40, deadline=None)
def test_hypervolume_counts_the_dominated_cells(table):
    reference = np.full(table.shape[1], 5)  # some rows lie beyond it
    assert hypervolume(table, reference) == pytest.approx(cells_below(table, reference))


@given(TABLES)
@settings(max_examples=40, deadline=None)
def test_history_is_the_hypervolume_of_each_prefix(table):
    reference = np.full(table.shape[1], 7.0)
    expected = [hypervolume(table[: i + 1], reference) for i in range(len(table))]
    assert hypervolume_history(table, reference) == pytest.approx(expected)


@given(TABLES)
@settings(max_examples=40, deadline=None)
def test_the_knee_is_on_the_front(table):
    assert knee_index(table) in front_indices(table)


@given(TABLES)
@settings(max_examples=60, deadline=None)
def test_the_reference_point_is_beyond_the_front_and_all_but_the_far_out(table):
    beyond = (reference_point(table) > table).all(axis=1)
    assert beyond[front_indices(table)].all()
    assert beyond.all() or len(table) >= 8
    assert all(statistics.median(column) < r for column, r in zip(table.T, reference_point(table), strict=True))


def test_nothing_gives_an_empty_front_and_no_volume():
    nothing = np.empty((0, 2))
    assert front_indices(nothing).tolist() == ranks(nothing).tolist() == crowding(nothing).tolist() == []
    assert hypervolume(nothing, np.ones(2)) == 0
    assert hypervolume_history(nothing, np.ones(2)).shape == (0,)


def test_the_knee_of_a_bent_line_is_its_bend():
    front = np.array([[0, 10], [1, 2], [5, 1.5], [9, 0.5], [10, 0]])
    assert knee_index(front) == 1


def test_the_knee_of_a_circle_is_in_its_middle():
    angle = np.linspace(0, np.pi / 2, 91)
    assert knee_index(1 - np.stack([np.sin(angle), np.cos(angle)], axis=1)) == 45


def test_the_knee_of_a_sphere_is_in_its_middle():
    points = np.vstack([np.eye(3), np.ones((1, 3)) / np.sqrt(3), [[0.8, 0.6, 0]]])
    assert knee_index(1 - points) == 3


def test_the_knee_does_not_depend_on_units():
    front = np.array([[0, 10], [1, 2], [2, 1.8], [10, 0]])
    assert knee_index(front) == knee_index(front * [1000, 0.001] - [5, 7])


def test_the_knee_of_one_objective_is_its_minimum():
    assert knee_index(np.array([[3.0], [1.0], [2.0], [1.0]])) == 1


@pytest.mark.parametrize(
    "front", [[[1, 2]], [[1, 2], [1, 2]], [[1, 2], [2, 1]], [[1, 1, 5], [1, 2, 4]], [[0, 1, 1], [1, 0, 1], [1, 1, 0]]]
)
def test_degenerate_fronts_have_a_knee(front):
    assert knee_index(np.array(front, dtype=float)) == 0


def test_a_hollow_front_has_its_knee_at_an_end():
    assert knee_index(np.array([[0, 10], [5, 9], [9, 5], [10, 0]])) == 0


def test_crowding_is_the_side_of_the_box_between_neighbours():
    table = np.array([[0, 4], [1, 2], [2, 1], [4, 0]])
    assert crowding(table).tolist() == [np.inf, 2 / 4 + 3 / 4, 3 / 4 + 2 / 4, np.inf]


def test_a_constant_objective_is_no_room():
    assert crowding(np.array([[1, 5], [2, 5], [4, 5]])).tolist() == [np.inf, 1, np.inf]


def test_the_reference_point_steps_a_tenth_beyond_the_worst():
    assert reference_point(np.array([[0, -5, 0], [10, -5, 0]])) == pytest.approx([11, -4.5, 0.1])


def test_one_network_that_did_not_learn_does_not_move_the_reference_point():
    learned = np.column_stack([np.linspace(1, 2, 11), -np.linspace(0.9, 1, 11)])  # (cost, -accuracy), all on the front
    expected = [2 + 0.1 * 1, -0.9 + 0.1 * 0.1]
    assert reference_point(learned) == pytest.approx(expected)
    assert reference_point(np.vstack([learned, [1.5, -0.1]])) == pytest.approx(expected)
    cheapest = np.vstack([learned, [0.5, -0.1]])  # nothing is cheaper, so it is on the front and has to count
    assert reference_point(cheapest) == pytest.approx([2 + 0.1 * 1.5, -0.1 + 0.1 * 0.9])


def test_far_out_is_beyond_three_interquartile_ranges():
    column = np.array([0.0, 1, 2, 3, 4, 5, 6, 7])  # quartiles 1.75 and 5.25, so the fence is at 15.75
    first, third = statistics.quantiles([*column, 15.0], n=4, method="inclusive")[::2]
    assert third + 3 * (third - first) == 18
    for last, worst in ((15.0, 15.0), (18.0, 18.0), (18.1, 7.0)):
        assert worst_inlier(np.array([*column, last])[:, None]) == [worst]
    assert worst_inlier(np.array([*column[:6], 99.0])[:, None]) == [99]  # seven rows tell no quartiles
    assert worst_inlier(np.array([*np.ones(9), 99.0])[:, None]) == [99]


@pytest.mark.parametrize("table", [np.array([[np.nan, 1]]), np.array([[np.inf, 1]]), np.ones(3)])
def test_what_is_no_table_of_numbers_is_refused(table):
    with pytest.raises(ValueError, match="losses must be"):
        front_indices(table)
