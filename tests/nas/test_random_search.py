"""Imagined random searches: against every order of a space whose accuracies are known exactly."""

from itertools import combinations

import numpy as np
import pytest

import nas.random_search as random_search_module
from nas.genotype import Atom, Genotype, Stage
from nas.objective import Constraint, Objective
from nas.random_search import RandomSearches, as_shares, random_searches
from nas.samplers.base import Knowledge
from nas.samplers.candidates import Pool
from nas.samplers.judge import Model, to_learn
from nas.samplers.observations import observations
from nas.samplers.process import Process
from nas.trial import Trial
from search_spaces.space import Dimension

SIZES = 12
ACCURACY = Objective(name="accuracy", direction="maximize")
PARAMS = Objective(name="params_m", direction="minimize")
REFERENCE = np.array([0.0, 2.0])  # losses: accuracy 0, and one million parameters more than every network has
ANY = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=32, depth=1),))


class Line:
    """Twelve sizes."""

    dimensions = (Dimension(name="size", choices=tuple(range(SIZES)), ordered=True),)

    def sample(self, rng):
        return {"size": int(rng.integers(SIZES))}

    def decode(self, code):
        return (code["size"],)

    def active(self, code):
        return frozenset(code)

    def mutate(self, code, rng):
        return self.sample(rng)


def accuracy(size):
    return 0.5 + 0.03 * size


def trial(size):
    values = {"accuracy": accuracy(size), "params_m": 1.0, "latency_ms": 1.0 + size}
    return Trial(number=size, kind="search", name="", state="complete", genotype=ANY, hash=str(size),
                 code={"size": size}, values=values)  # fmt: skip


def certain(pool, history, metric):
    """The model, with hyperparameters that leave no doubt about what was seen."""
    seen, quiet = observations(history, metric), np.array([0.0, 0.0, 1.0, -25.0])
    theta = np.concatenate([quiet, np.ones(pool.groups.max() + 1)])
    rows = pool.rows([pool.tried(t.code) for t in seen.trials])
    return Model(process=Process(theta=theta, groups=pool.groups, x=rows, t=seen.t, extra=seen.extra), seen=seen)


@pytest.fixture
def searches(monkeypatch):
    """Of the twelve networks, all of which were seen; limits as in a campaign."""
    monkeypatch.setattr(random_search_module, "_doubted", lambda model, rng: model)

    def run(*limits, trials=SIZES):
        knowledge = Knowledge(costs=lambda network: {"params_m": 1.0}, constraints=limits)
        history = [trial(size) for size in range(SIZES)]
        pool = Pool(Line(), knowledge, 0)
        models = {m.name: certain(pool, history, m) for m in to_learn(pool, (ACCURACY, PARAMS), history)}
        return random_searches(pool, (ACCURACY, PARAMS), models, REFERENCE, trials, 0)

    return run


def expected_best(sizes, count):
    return np.mean([max(map(accuracy, chosen)) for chosen in combinations(sizes, count)])


def test_what_is_known_exactly_gives_the_expected_best_of_n(searches):
    volumes = searches().volumes
    assert volumes.shape == (random_search_module.DRAWS, 1 + SIZES)
    for count in (1, 3, 6):
        error = volumes[:, count].std() / np.sqrt(len(volumes))
        assert volumes[:, count].mean() == pytest.approx(expected_best(range(SIZES), count), abs=3 * error)


def test_a_space_that_is_used_up_leaves_nothing_to_chance(searches):
    assert searches().band()[:, SIZES] == pytest.approx([accuracy(SIZES - 1)] * 3, abs=0.004)


def test_what_breaks_a_limit_that_only_a_measurement_tells_costs_no_training(searches):
    found = searches(Constraint.parse("latency_ms", "<= 6.5"))  # sizes 0 to 5
    assert found.learnt == ("latency_ms",)
    assert found.volumes[:, 6] == pytest.approx(np.full(len(found.volumes), accuracy(5)), abs=0.004)
    error = found.volumes[:, 2].std() / np.sqrt(len(found.volumes))
    assert found.volumes[:, 2].mean() == pytest.approx(expected_best(range(6), 2), abs=3 * error)


def test_trials_that_reach_a_volume_are_counted_by_hand():
    found = RandomSearches(volumes=np.array([[0, 1, 2, 3], [0, 3, 3, 3], [0, 0, 0, 1.0]]))
    assert found.trials_for(2.0).tolist() == [1, 2, np.inf]
    assert found.reaching(2.0, trials=2) == found.reaching(2.0, trials=9) == pytest.approx(2 / 3)
    assert found.band()[1].tolist() == [0, 1, 2, 3]


def test_draws_of_an_accuracy_stay_below_1_with_their_means_and_deviations() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal([0.5, 0.97, 0.98], [0.05, 0.02, 0.0], size=(20_000, 3))
    shares = as_shares(draws)
    assert ((shares > 0) & (shares < 1)).all()
    assert shares.mean(axis=0) == pytest.approx([0.5, 0.97, 0.98], abs=1e-3)
    assert shares.std(axis=0) == pytest.approx([0.05, 0.02, 0.0], rel=0.03, abs=1e-5)
    assert (np.argsort(shares[:, 1]) == np.argsort(draws[:, 1])).all()
    assert np.quantile(shares[:, 1], 0.01) < np.quantile(draws[:, 1], 0.01)
