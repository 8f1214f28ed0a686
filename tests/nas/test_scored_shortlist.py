"""The sampler with scores and with published networks, on a grid whose every point is known."""

from dataclasses import replace

import numpy as np
import pytest

from nas.genotype import Atom, Genotype, Stage
from nas.objective import Constraint, Objective
from nas.samplers import make_sampler
from nas.samplers.base import Knowledge
from nas.samplers.candidates import Pool
from nas.samplers.scored import ScoredPool
from nas.trial import Trial
from search_spaces.space import Dimension

OBJECTIVES = (Objective(name="accuracy", direction="maximize"), Objective(name="params_m", direction="minimize"))
ANY = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=32, depth=1),))
SIDES = 9
QUALITY = np.random.default_rng(4).normal(size=(SIDES, SIDES, SIDES))  # of each network, follows from none of its sizes


class Grid:
    """Three sizes; a network is their tuple."""

    dimensions = tuple(Dimension(name=f"size{i}", choices=tuple(range(SIDES)), ordered=True) for i in range(3))

    def sample(self, rng):
        return {d.name: d.sample(rng) for d in self.dimensions}

    def decode(self, code):
        return tuple(code[d.name] for d in self.dimensions)

    def active(self, code):
        return frozenset(code)

    def problems(self, network):
        return []

    def mutate(self, code, rng):
        name = f"size{rng.integers(3)}"
        return code | {name: int(rng.integers(SIDES))}

    def crossover(self, a, b, rng):
        return {name: (a, b)[rng.integers(2)][name] for name in a}


GRID = Grid()


def costs(place):
    return {"params_m": 1.0 + sum(place)}


def tried(number, code):
    place = GRID.decode(code)
    accuracy = 0.02 * sum(place) + 0.1 * QUALITY[place]
    return Trial(
        number=number, kind="search", name=f"trial {number}", state="complete", genotype=ANY, hash=str(number),
        code=code, values={"accuracy": accuracy, **costs(place)}, scores={"told": float(QUALITY[place])},
        finished=float(number),
    )  # fmt: skip


def history(count):
    rng = np.random.default_rng(1)
    return [tried(i, GRID.sample(rng)) for i in range(count)]


def sampler_with(**known):
    sampler = make_sampler("pareto", OBJECTIVES, 0)
    sampler.knowledge = Knowledge(costs=costs, **known)
    return sampler


def told(place):
    return {"told": float(QUALITY[place])}


TOLD = {"scores": told, "believed": lambda trials: ("told",), "shortlist": 24}


def test_a_score_that_tells_the_truth_leads_to_better_networks():
    trials = history(40)
    found = {}
    for label, known in (("with", TOLD), ("without", {})):
        proposals = [sampler_with(**known).propose(GRID, trials, [], number, 0) for number in range(40, 48)]
        found[label] = np.mean([QUALITY[GRID.decode(code)] for code in proposals])
    assert found["with"] > found["without"] + 1


def test_scores_are_asked_for_on_the_shortlist_alone_and_only_when_believed():
    asked = []
    known = TOLD | {"scores": lambda place: asked.append(place) or told(place)}
    sampler_with(**known).propose(GRID, history(40), [], 40, 0)
    assert len(set(asked)) == 24
    asked.clear()
    sampler_with(**known | {"believed": lambda trials: ()}).propose(GRID, history(40), [], 40, 0)
    assert asked == []


def test_a_used_sampler_with_scores_proposes_what_a_new_one_does():
    used, trials = sampler_with(**TOLD), history(44)
    for count in (30, 36, 44):
        pending = [t.code for t in history(46)[44:]]
        proposal = used.propose(GRID, trials[:count], pending, count, 0)
        assert proposal == sampler_with(**TOLD).propose(GRID, trials[:count], pending, count, 0)


def test_with_scores_too_a_space_may_come_to_its_end(monkeypatch):
    line = [replace(d, choices=d.choices if d.name == "size0" else (0,)) for d in Grid.dimensions]
    monkeypatch.setattr(Grid, "dimensions", tuple(line))
    monkeypatch.setattr(Grid, "mutate", lambda self, code, rng: code | {"size0": int(rng.integers(SIDES))})
    trials = [tried(i, {"size0": i % SIDES, "size1": 0, "size2": 0}) for i in range(20)]
    assert sampler_with(**TOLD).propose(GRID, trials, [], 20, 0)["size0"] in range(SIDES)


@pytest.mark.parametrize("scores", [{}, {"told": 1.0}])
def test_absent_and_constant_scores_are_survived(scores):
    trials = [replace(t, scores=scores) for t in history(30)]
    assert sampler_with(**TOLD | {"scores": lambda place: scores}).propose(GRID, trials, [], 30, 0)


def test_a_column_says_where_a_score_lies_among_those_of_the_trials():
    trials = [replace(t, scores={"told": float(i)}) for i, t in enumerate(history(11))]
    pool = Pool(GRID, Knowledge(costs=costs, scores=lambda place: {}), seed=0)
    rows = ScoredPool(pool, ["told"], trials)
    networks = [pool.tried(t.code) for t in (trials[0], trials[5], trials[10])]
    column = rows.rows([*networks, *pool.networks([{"size0": 8, "size1": 8, "size2": 8}])])[:, -1]
    assert column == pytest.approx([-np.sqrt(12) * 5 / 11, 0, np.sqrt(12) * 5 / 11, 0])
    assert rows.groups[-1] == pool.groups.max() + 1
    assert (rows.rows(networks)[:, :-1] == pool.rows(networks)).all()


def test_published_networks_are_candidates_unless_they_break_a_limit():
    codes = tuple({"size0": i, "size1": i, "size2": i} for i in (1, 8))
    limit = (Constraint(metric="params_m", operator="<", bound=10.0),)
    pool = Pool(GRID, Knowledge(costs=costs, published=lambda: codes, constraints=limit), seed=0)
    assert [n.genotype for n in pool.published] == [(1, 1, 1)]
    assert [n.genotype for n in Pool(GRID, Knowledge(costs=costs), seed=0).published] == []
