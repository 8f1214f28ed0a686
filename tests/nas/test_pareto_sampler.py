"""The sampler that knows costs: on grids whose every point is known, with good and with bad luck."""

import math
from dataclasses import replace

import numpy as np
import pytest

import nas.samplers.judge as judge_module
from nas.errors import UserError
from nas.genotype import Atom, Genotype, Stage
from nas.known_costs import Known
from nas.objective import Constraint, Objective
from nas.pareto import hypervolume
from nas.proposals import Exhausted, Proposer
from nas.samplers import make_sampler
from nas.samplers.base import Knowledge, observed
from nas.samplers.candidates import Pool
from nas.samplers.judge import Judge
from nas.samplers.observations import observations
from nas.trial import Point, Trial
from search_spaces.space import Dimension

ACCURACY = Objective(name="accuracy", direction="maximize")
PARAMS = Objective(name="params_m", direction="minimize")
LATENCY = Objective(name="latency_ms", direction="minimize")
ANY = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=32, depth=1),))


class Place(tuple):
    """A network of the grid: its sizes."""

    def hash(self):
        return "-".join(map(str, self))


class Grid:
    """Every combination of sizes; larger is better, with diminishing returns and one bad interaction."""

    def __init__(self, *sizes):
        self.dimensions = tuple(
            Dimension(name=f"size{i}", choices=tuple(range(n)), ordered=True) for i, n in enumerate(sizes)
        )

    def sample(self, rng):
        return {d.name: d.sample(rng) for d in self.dimensions}

    def decode(self, code):
        return Place(code[d.name] for d in self.dimensions)

    def active(self, code):
        return frozenset(d.name for d in self.dimensions)

    def problems(self, network):
        return []

    def mutate(self, code, rng):
        dimension = self.dimensions[rng.integers(len(self.dimensions))]
        return {**code, dimension.name: dimension.sample(rng, other_than=code[dimension.name])}

    def crossover(self, a, b, rng):
        return {name: (a, b)[rng.integers(2)][name] for name in a}

    def repair(self, code, rng):
        return dict(code)


def params(place):
    return {"params_m": 1.0 + sum((i + 1) * size for i, size in enumerate(place))}


def accuracy(place):
    return 0.3 + 0.05 * sum(math.sqrt(s) for s in place) - 0.04 * abs(place[0] - place[-1])


def tried(number, code, state="complete", **values):
    place = Grid(*[10] * len(code)).decode(code)
    known = {"accuracy": accuracy(place), **params(place)}
    return Trial(
        number=number, kind="search", name=f"trial {number}", state=state, genotype=ANY, hash=str(number), code=code,
        values={**known, **values}, finished=float(number),
    )  # fmt: skip


def sampler_of(*objectives, seed=0, **known):
    sampler = make_sampler("pareto", objectives or (ACCURACY, PARAMS), seed)
    sampler.knowledge = Knowledge(**({"costs": params} | known))
    return sampler


def history_of(count, sizes=(6, 6, 6), seed=0):
    rng = np.random.default_rng(seed)
    return [tried(i, Grid(*sizes).sample(rng)) for i in range(count)]


def searched(name, seed, count):
    space, sampler, trials = Grid(6, 6, 6, 6), make_sampler(name, (ACCURACY, PARAMS), seed), []
    sampler.knowledge = Knowledge(costs=params)
    for number in range(count):
        trials.append(tried(number, sampler.propose(space, trials, [], number, 0)))
    table = np.array([[-t.values["accuracy"], t.values["params_m"]] for t in trials])
    return hypervolume(table, np.array([0.0, 51.0]))


def judge_of(sampler, space, history):
    pool = sampler._pool_of(space)
    _, table = observed(history, sampler.objectives)
    return Judge(pool, sampler.objectives, sampler._fitted(pool, history), table, [])


def test_forty_trials_find_what_random_search_does_not_find_in_a_hundred():
    """On a grid of 1,296 networks; the worst of three seeds against the best."""
    assert min(searched("pareto", s, 40) for s in range(3)) > max(searched("random", s, 100) for s in range(3))


def test_costs_beyond_those_tried_count_as_far_as_networks_reach():
    """All trials are small ones; what larger ones would add is not cut off where the trials end."""
    history = [t for t in history_of(60) if t.values["params_m"] < 12]
    space, sampler = Grid(6, 6, 6), sampler_of()
    chosen = [params(space.decode(sampler.propose(space, history, [], 60, a)))["params_m"] for a in range(8)]
    judge = judge_of(sampler, space, history)
    assert judge.reference[1] == max(n.costs["params_m"] for n in sampler._pool.base) > 25
    assert max(chosen) > 12


def test_networks_that_cannot_learn_are_not_tried_for_being_cheap():
    """A sixth of the grid is at chance, its cheapest sixth; to lower the cost of a useless network gains nothing."""
    space, sampler, trials = Grid(6, 6, 6, 6), sampler_of(), []
    for number in range(40):
        code = sampler.propose(space, trials, [], number, 0)
        trials.append(tried(number, code, **({"accuracy": 0.1} if code["size3"] == 0 else {})))
    assert sum(t.code["size3"] == 0 for t in trials[12:]) <= 5


def test_no_proposal_breaks_a_limit_on_known_costs():
    limits = (Constraint(metric="params_m", operator="<", bound=9.0),)
    sampler, space = sampler_of(constraints=limits), Grid(6, 6, 6)
    for count in (0, 5, 30):
        for attempt in range(4):
            code = sampler.propose(space, history_of(count), [], count, attempt)
            assert params(space.decode(code))["params_m"] <= 9.0


def test_a_limit_on_a_measured_cost_is_learnt():
    limits = (Constraint(metric="latency_ms", operator="<", bound=8.0),)
    history = [replace(t, values={**t.values, "latency_ms": t.values["params_m"]}) for t in history_of(40)]
    sampler, space = sampler_of(ACCURACY, LATENCY, costs=lambda place: {}, constraints=limits), Grid(6, 6, 6)
    found = [params(space.decode(sampler.propose(space, history, [], 40, a)))["params_m"] for a in range(5)]
    assert np.mean(found) < 10


def test_a_batch_is_fitted_once_and_holds_no_network_twice(monkeypatch):
    fits, fit = [], judge_module.Process.fit
    monkeypatch.setattr(judge_module.Process, "fit", lambda *args: fits.append(1) or fit(*args))
    sampler, space, history, pending = sampler_of(), Grid(6, 6, 6), history_of(30), []
    for number in range(30, 35):
        pending.append(sampler.propose(space, history, pending, number, 0))
    assert len({space.decode(code) for code in pending}) == 5
    assert len(fits) == 1


def test_the_warm_start_covers_the_costs():
    sampler, space, history = sampler_of(), Grid(6, 6, 6), []
    for number in range(8):
        history.append(tried(number, sampler.propose(space, history, [], number, 0)))
    costs = sorted(t.values["params_m"] for t in history)
    assert costs[0] < 10
    assert costs[-1] > 22
    assert max(np.diff(costs)) < 12


class Counted:
    """What a proposer asks of KnownCosts."""

    def __call__(self, genotype):
        return params(genotype)

    def of(self, genotype):
        return Known(values=params(genotype))

    def many(self, genotypes):
        return [self.of(genotype) for genotype in genotypes]


def test_a_space_of_twelve_networks_is_searched_to_its_end():
    space, trials = Grid(3, 4), []
    proposer = Proposer(space, sampler_of(), [], Counted(), seed=0)
    while len(trials) < 12:
        candidate = proposer.next(trials, len(trials), lambda refusal: None, {t.hash for t in trials})
        trials.append(replace(tried(len(trials), candidate.code), hash=candidate.hash))
    with pytest.raises(Exhausted, match="the space is exhausted"):
        proposer.next(trials, 12, lambda refusal: None, {t.hash for t in trials})


def test_refused_proposals_are_followed_by_other_networks():
    sampler, space, history = sampler_of(), Grid(6, 6, 6), history_of(30)
    found = [space.decode(sampler.propose(space, history, [], 30, attempt)) for attempt in range(8)]
    assert len(set(found)) == 8
    assert not set(found) & {space.decode(t.code) for t in history}


def test_codes_of_a_changed_space_are_left_out():
    space, history = Grid(6, 6, 6), history_of(30)
    changed = [tried(30, {"size0": 9, "size1": 0, "size2": 0}), replace(history[0], number=31, code={"size0": 1})]
    assert sampler_of().propose(space, [*history, *changed], [{"size0": 1}], 32, 0) == (
        sampler_of().propose(space, history, [], 32, 0)
    )


def test_not_a_number_and_noisy_repeats_are_survived():
    history = history_of(20)
    noisy = [tried(20 + i, history[0].code, accuracy=0.3 + 0.1 * i) for i in range(5)]
    code = sampler_of().propose(
        Grid(6, 6, 6), [*history, *noisy, tried(25, history[1].code, accuracy=math.nan)], [], 26, 0
    )
    assert Grid(6, 6, 6).decode(code) not in {Grid(6, 6, 6).decode(t.code) for t in history}


def test_stopped_and_failed_trials_say_less_than_finished_ones():
    history = [replace(t, curve=(Point(epoch=3, loss=1.0, accuracy=0.5 * t.values["accuracy"], seconds=1.0),))
               for t in history_of(10)]  # fmt: skip
    stopped = replace(history[0], number=10, state="stopped", values={})
    failed = replace(history[1], number=11, state="failed", values={}, curve=())
    seen = observations([*history, stopped, failed], ACCURACY)
    assert [t.number for t in seen.trials] == list(range(12))
    assert seen.t[11] == pytest.approx(seen.t.max())
    assert (seen.extra[:10] == 0).all()
    assert (seen.extra[10:] > 0).all()


def test_a_value_is_trusted_less_the_fewer_pictures_it_was_counted_on():
    history = history_of(20)
    few, many = (observations(history, ACCURACY, pictures) for pictures in (50, 5000))
    share = (np.array([t.values["accuracy"] for t in history]) * 50 + 2) / 54
    assert few.extra * few.size**2 == pytest.approx(share * (1 - share) / 50)
    assert (many.extra < few.extra / 50).all()
    assert (observations(history, ACCURACY).extra == 0).all()
    assert (observations(history, PARAMS, 50).extra == 0).all()


@pytest.mark.parametrize("chance", [0.1, 0.3, 0.5])
def test_equal_accuracies_are_no_scale_to_measure_by(chance):
    """The mean of twenty times 0.1 is not 0.1, and its rounding must not pass for their spread."""
    history = [replace(t, values={**t.values, "accuracy": chance}) for t in history_of(20)]
    seen = observations(history, ACCURACY, 360)
    assert (seen.size, abs(seen.t).max()) == (1.0, pytest.approx(0.0, abs=1e-12))
    assert seen.extra == pytest.approx((chance * 360 + 2) / 364 * (1 - (chance * 360 + 2) / 364) / 360)


def test_predicted_costs_with_intervals_are_searched_too():
    sampler = sampler_of(intervals=lambda place: {"params_m": (0.8 * params(place)["params_m"], 40.0)})
    assert sampler.propose(Grid(6, 6, 6), history_of(30), [], 30, 0)


def test_a_space_without_a_valid_network_is_the_users_to_mend():
    class Empty(Grid):
        def sample(self, rng):
            raise UserError("space empty holds no valid network")

    with pytest.raises(UserError, match="holds no valid network"):
        sampler_of().propose(Empty(2), [], [], 0, 0)


def test_expectations_begin_with_the_model_and_hold_its_noise():
    rng, grid, sampler = np.random.default_rng(0), Grid(10, 10), sampler_of()
    history = [tried(i, grid.sample(rng), accuracy=float(rng.uniform(0.4, 0.6))) for i in range(20)]
    asked = {"size0": 4, "size1": 7}
    assert sampler.expectation(grid, history[:5], [], asked) == {}
    expected = sampler.expectation(grid, history, [], asked)["accuracy"]
    pool = Pool(grid, sampler.knowledge, 0)
    model = judge_module.fit(pool, history, ACCURACY, 0)
    loss, doubt = model.predict(pool.rows(pool.networks([asked])))
    assert expected.mean == pytest.approx(-loss[0])
    assert expected.deviation**2 == pytest.approx(doubt[0] ** 2 + model.seen.size**2 * np.exp(model.process.theta[3]))
    found = [t.values["accuracy"] for t in history]
    assert expected.floor == pytest.approx(2 * np.median(found) - max(found))


def test_what_was_expected_is_part_of_a_candidate():
    grid, sampler = Grid(10, 10), make_sampler("pareto", (ACCURACY, PARAMS), 0, startup=6)
    sampler.knowledge = Knowledge(costs=params)
    proposer = Proposer(grid, sampler, [], Counted(), 0)
    early = proposer.next([], 0, lambda refusal: None, set())
    history = [tried(i, {"size0": i, "size1": (3 * i) % 10}) for i in range(8)]
    assert early.expected == {}
    late = proposer.next(history, 8, lambda refusal: None, set())
    assert late.expected == sampler.expectation(grid, history, [], late.code)
    assert set(late.expected) == {"accuracy"}
