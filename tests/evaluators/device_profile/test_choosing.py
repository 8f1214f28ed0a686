"""What is measured next."""

from collections import Counter

import numpy as np

from evaluators.device_profile.choosing import LEAST, choose_spread, choose_units
from evaluators.device_profile.composition import units_of
from tests.evaluators.device_profile.made_up import drawn


class Certain:
    """A model that is sure of all units but one."""

    def __init__(self, unsure: object) -> None:
        self.unsure = unsure

    def predict(self, units):
        return np.ones(len(units)), np.array([0.5 if u == self.unsure else 1e-9 for u in units])


NETWORKS = [s.units() for s in drawn("vit_small", 32, 16)]


def chosen(model=None, measured=(), seed=0):
    return choose_units(NETWORKS, model, measured, np.random.default_rng(seed))


def test_every_unit_comes_once_and_none_that_was_measured():
    known = set(units_of(NETWORKS)[::3])
    found = chosen(measured=known)
    assert len(found) == len(set(found))
    assert set(found) == set(units_of(NETWORKS)) - known


def test_every_family_has_its_turn_before_any_has_a_second():
    found = [unit.family for unit in chosen()]
    families = set(found)
    assert set(found[: len(families)]) == families
    early = Counter(found[: sum(min(LEAST, found.count(f)) for f in families)])
    assert max(early.values()) == LEAST


def test_a_family_with_enough_measured_units_waits():
    unit = units_of(NETWORKS)
    family = Counter(u.family for u in unit).most_common(1)[0][0]
    own = [u for u in unit if u.family == family]
    rest = chosen(measured=own[:LEAST])
    assert {u.family for u in rest[: len(own) - LEAST]} & {family} == set()


def test_what_is_uncertain_comes_first():
    different = units_of(NETWORKS)
    family = Counter(u.family for u in different).most_common(1)[0][0]
    own = [u for u in different if u.family == family]
    unsure, known = own[-1], {*different} - {*own[LEAST:]}
    first = [chosen(Certain(unsure), known, seed)[0] for seed in range(5)]
    assert first == [unsure] * 5
    assert {*chosen(None, known)} == {*own[LEAST:]}


def test_spread_rows_are_the_farthest_points_of_a_brute_force():
    x = np.random.default_rng(0).normal(size=(40, 3))
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    found = choose_spread(x, 6)
    for i in range(1, 6):
        distance = [min(np.linalg.norm(z[row] - z[j]) for j in found[:i]) for row in range(40)]
        assert found[i] == int(np.argmax(distance))
    assert found[0] == int(np.argmin(np.linalg.norm(z, axis=1)))


def test_rows_taken_before_are_kept_away_from():
    x = np.array([[0.0], [0.1], [5.0], [9.0], [10.0]])
    assert choose_spread(x, 2, taken=[4]) == [0, 2]
    assert sorted(choose_spread(x, 9, taken=[4])) == [0, 1, 2, 3]
