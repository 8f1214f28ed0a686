"""Every sampler keeps the contract, and those that learn beat random search on a problem with a known front."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from nas.errors import UserError
from nas.genotype import Atom, Genotype, Stage
from nas.objective import Objective
from nas.pareto import hypervolume
from nas.samplers import SAMPLERS, make_sampler
from nas.samplers.nsga2 import survival_order
from nas.trial import Trial
from search_spaces.vit import make_space

ACCURACY = Objective(name="accuracy", direction="maximize")
LATENCY = Objective(name="latency_ms", direction="minimize")
PARAMS = Objective(name="params_m", direction="minimize")
TWO = (ACCURACY, LATENCY)
ANY = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=32, depth=1),))


@dataclass(frozen=True)
class ToyDimension:
    name: str
    choices: tuple
    ordered: bool = False


class ToyNetwork(dict):
    """A code as what it decodes to."""

    def __hash__(self):
        return hash(tuple(self.values()))


class ToySpace:
    """Eight sizes and eight kinds; rule: the first two sizes must differ."""

    dimensions = (
        *(ToyDimension(f"size{i}", (1, 2, 3, 4, 5, 6), ordered=True) for i in range(8)),
        *(ToyDimension(f"kind{i}", ("a", "b", "c", "d")) for i in range(8)),
    )

    def draw(self, rng):
        return {d.name: d.choices[rng.integers(len(d.choices))] for d in self.dimensions}

    def sample(self, rng):
        return self.repair(self.draw(rng), rng)

    def decode(self, code):
        return ToyNetwork(code)

    def active(self, code):
        return frozenset(code)

    def problems(self, code):
        return ["V1: the first two sizes are equal"] if code["size0"] == code["size1"] else []

    def repair(self, code, rng):
        return {**code, "size0": code["size1"] % 6 + 1} if self.problems(code) else dict(code)

    def mutate(self, code, rng):
        changed = rng.choice([d.name for d in self.dimensions], size=2, replace=False)
        return self.repair({**code, **{k: v for k, v in self.draw(rng).items() if k in changed}}, rng)

    def crossover(self, a, b, rng):
        return self.repair({k: (a, b)[rng.integers(2)][k] for k in a}, rng)


TOY = ToySpace().sample(np.random.default_rng(0))


def judged(number, code, state="complete", **values):
    """Larger is better and dearer; each kind has one right answer that costs nothing."""
    sizes = np.array([v for k, v in code.items() if k.startswith("size")])
    right = sum(v == "abcd"[i % 4] for i, v in enumerate(v for k, v in code.items() if k.startswith("kind")))
    found = {"accuracy": float(np.sqrt(sizes / 6).mean() * (1 + right) / 9), "latency_ms": float(sizes.sum())}
    return Trial(
        number=number, kind="search", name=f"trial {number}", state=state, genotype=ANY, hash=str(number), code=code,
        values={**found, "params_m": 1.0, **values}, finished=float(number),
    )  # fmt: skip


def history_of(count, **values):
    rng = np.random.default_rng(7)
    return [judged(i, ToySpace().sample(rng), **values) for i in range(count)]


def searched(name, seed, count):
    """Hypervolume after a serial search, relative to the box of all possible values."""
    space, sampler, trials = ToySpace(), make_sampler(name, TWO, seed, startup=12), []
    for number in range(count):
        trials.append(judged(number, sampler.propose(space, trials, [], number, 0)))
    table = np.array([[-t.values["accuracy"], t.values["latency_ms"]] for t in trials])
    return hypervolume(table, np.array([0.0, 48.0])) / 40


@pytest.fixture(params=list(SAMPLERS))
def name(request):
    return request.param


def test_the_samplers_are_registered():
    assert {"pareto", "tpe", "random", "nsga2", "regularized_evolution", "gp"} <= set(SAMPLERS)


def test_an_unknown_sampler_names_the_nearest():
    with pytest.raises(UserError, match="unknown sampler 'nsga'; did you mean 'nsga2'"):
        make_sampler("nsga", TWO)


@pytest.mark.parametrize("count", [0, 5, 30])
def test_equal_arguments_give_equal_proposals(name, count):
    history, pending = history_of(count), [ToySpace().sample(np.random.default_rng(1))]
    first, second = (make_sampler(name, TWO, 3).propose(ToySpace(), history, pending, 40, 2) for _ in range(2))
    assert first == second


def test_expectations_are_of_accuracy_or_absent_and_repeat_themselves(name):
    first, second = (make_sampler(name, TWO, 3).expectation(ToySpace(), history_of(30), [], TOY) for _ in range(2))
    assert first == second
    assert set(first) <= {"accuracy"}
    assert all(0 < e.deviation < 1 and -1 < e.floor < 1 and -1 < e.mean < 2 for e in first.values())


@pytest.mark.parametrize("count", [0, 30])
def test_number_attempt_and_seed_each_change_the_proposal(name, count):
    """But for Optuna's processes, which look for the one optimum of a history: there only a refusal changes it."""
    history, seen = history_of(count), []
    changes = ((0, 40, 0), (0, 40, 1)) if name == "gp" and count else ((0, 40, 0), (0, 41, 0), (0, 40, 1), (1, 40, 0))
    for seed, number, attempt in changes:
        seen.append(make_sampler(name, TWO, seed).propose(ToySpace(), history, [], number, attempt))
    assert all(a != b for i, a in enumerate(seen) for b in seen[:i])


def test_a_used_sampler_proposes_what_a_new_one_does(name):
    used, history = make_sampler(name, TWO, 0), history_of(40)
    for count in (20, 21, 30, 25, 40):
        pending = [t.code for t in history[count : count + 2]]
        proposal = used.propose(ToySpace(), history[:count], pending, count, 0)
        assert proposal == make_sampler(name, TWO, 0).propose(ToySpace(), history[:count], pending, count, 0)


def test_a_value_measured_again_counts_at_once(name):
    used, old = make_sampler(name, TWO, 0), history_of(40)
    new = [judged(t.number, t.code, latency_ms=50 - t.values["latency_ms"]) for t in old]
    used.propose(ToySpace(), old, [], 40, 0)
    assert used.propose(ToySpace(), new, [], 40, 0) == make_sampler(name, TWO, 0).propose(ToySpace(), new, [], 40, 0)


def test_proposals_keep_to_the_rules_and_the_choices(name):
    space, history = ToySpace(), history_of(40)
    for attempt in range(6):
        code = make_sampler(name, TWO, 0).propose(space, history, [], 40, attempt)
        assert not space.problems(code)
        assert all(code[d.name] in d.choices for d in space.dimensions)


def test_failed_and_infeasible_trials_are_survived(name):
    history = history_of(40)
    for i in range(0, 40, 4):
        history[i] = replace(history[i], state="failed", values={}, error="out of memory")
        history[i + 1] = replace(history[i + 1], state="infeasible", values={"latency_ms": 9.0})
    code = make_sampler(name, TWO, 0).propose(ToySpace(), history, [history[3].code], 40, 0)
    assert set(code) == {d.name for d in ToySpace.dimensions}


def test_a_history_of_nothing_but_failures_is_survived(name):
    history = [replace(t, state="failed", values={}) for t in history_of(30)]
    assert make_sampler(name, TWO, 0).propose(ToySpace(), history, [], 30, 0)


def test_one_network_with_many_accuracies_is_survived(name):
    history = history_of(20)
    history += [judged(20 + i, history[i % 3].code, accuracy=0.1 * i) for i in range(10)]
    assert not ToySpace().problems(make_sampler(name, TWO, 0).propose(ToySpace(), history, [], 30, 0))


def test_values_that_are_no_numbers_are_survived(name):
    history = history_of(30)
    lost = [judged(30, history[0].code, accuracy=math.nan), judged(31, history[1].code, latency_ms=math.inf)]
    code = make_sampler(name, TWO, 0).propose(ToySpace(), [*history, *lost], [], 32, 0)
    assert not ToySpace().problems(code)


@pytest.mark.parametrize("objectives", [TWO, (ACCURACY, LATENCY, PARAMS)])
def test_constant_and_equal_objectives_are_survived(name, objectives):
    for values in ({"latency_ms": 1.0}, {"accuracy": 0.5, "latency_ms": 1.0, "params_m": 0.0}):
        history = history_of(30, **values)
        assert make_sampler(name, objectives, 0).propose(ToySpace(), history, [], 30, 0)


def test_a_space_of_one_network_gives_that_network(name):
    space = ToySpace()
    choices = {d.name: d.choices[:1] for d in space.dimensions} | {"size1": (3,)}
    space.dimensions = tuple(ToyDimension(*item) for item in choices.items())
    code = {d.name: d.choices[0] for d in space.dimensions}
    history = [judged(i, code) for i in range(30)]
    assert make_sampler(name, TWO, 0).propose(space, history, [], 30, 0)["kind3"] == "a"


def test_a_search_of_the_real_space_proposes_valid_networks(name):
    space = make_space("vit_small", image_size=8, in_chans=1, classes=10, fix={"topology": "pyramid"})
    sampler, trials = make_sampler(name, TWO, 0, startup=8, population=8), []
    for number in range(14):
        code = sampler.propose(space, trials, [t.code for t in trials[-2:]], number, 0)
        genotype = space.decode(code)
        assert not space.problems(genotype)
        assert genotype.topology == "pyramid"
        values = {"accuracy": number / 30, "latency_ms": sum(s.width * s.depth for s in genotype.stages)}
        trials.append(replace(judged(number, TOY), code=code, genotype=genotype, values=values))


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_learning_beats_random_search(name):
    """Over four seeds the worst of the learner is above the best of random search."""
    assert min(searched(name, s, 120) for s in range(4)) > max(searched("random", s, 120) for s in range(4))


def test_survival_goes_by_front_and_then_by_room():
    losses = np.array([[2, 2], [0, 4], [4, 0], [3, 3], [1, 2.5], [2.1, 1.8]])
    order = survival_order(losses).tolist()
    assert set(order[:2]) == {1, 2}  # the extremes
    assert order[-1] == 3  # the only dominated one
