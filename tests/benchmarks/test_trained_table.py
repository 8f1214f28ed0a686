"""A trained table: what is read from its files, its rows as a space, searches on it, all against brute force."""

import json
from dataclasses import replace
from functools import partial
from itertools import pairwise

import fidelity
import numpy as np
import pandas as pd
import pytest
import stopped_search
from curve_worker import curve
from describe_table import retrained
from fidelity_tables import read_table
from row_space import row_problems
from sampler_peers import IN_PARTS, PEERS, costs_known, ours
from trained_table import read_trained

from evaluators.cost import cost_metrics
from nas.errors import UserError
from nas.fidelity import make_rule
from nas.pareto import reference_point
from search_spaces.vit import make_space

SHAPE = {"image_size": 8, "in_chans": 1, "classes": 10}
ROWS, EPOCHS = 16, 10


@pytest.fixture(scope="module")
def space():
    return make_space("vit_small", **SHAPE)


@pytest.fixture(scope="module")
def folder(space, tmp_path_factory):
    """Sixteen random architectures, the first four with a second seed; a seventeenth broke off."""
    path, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    rows, curves, tests = [], ["hash,seed,epoch,loss,accuracy,seconds"], ["hash,seed,accuracy"]
    for number in range(ROWS + 1):
        code = space.sample(rng)
        genotype = space.decode(code)
        costs = cost_metrics(genotype, **SHAPE)
        rows.append({"hash": genotype.hash(), "code": code, "genotype": genotype.to_json(), **costs})
        for seed in (0, 1) if number < 4 else (0,):
            points = curve(rng.uniform(0.7, 0.98), EPOCHS, rng=rng)[: 3 if number == ROWS else EPOCHS]
            curves += [f"{genotype.hash()},{seed},{p.epoch},{p.loss},{p.accuracy:.5f},1" for p in points]
            tests.append(f"{genotype.hash()},{seed},{'' if number == ROWS else 0.9}")
    (path / "table.json").write_text(json.dumps({"space": "vit_small", "shape": SHAPE, "validation": 288}))
    (path / "architectures.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (path / "curves.csv").write_text("\n".join(curves))
    (path / "tests.csv").write_text("\n".join(tests))
    return path


@pytest.fixture(scope="module")
def problem(folder):
    return row_problems(read_trained(folder))[0]


def test_only_trainings_over_the_whole_schedule_count(folder):
    table = read_trained(folder)
    assert (len(table.rows), table.missing, table.epochs) == (ROWS, 1, EPOCHS)
    assert (table.wide(0).shape, table.wide(1).shape) == ((ROWS, EPOCHS), (4, EPOCHS))


def test_a_trained_table_is_read_as_learning_curves(folder):
    frame, table = read_table(folder), read_trained(folder)
    assert {"trial", "epoch", "accuracy", "seed", "macs_g", "params_m"} <= set(frame)
    row = frame[(frame.trial == 5) & (frame.epoch == EPOCHS) & (frame.seed == 0)].iloc[0]
    assert row.macs_g == table.rows[5].costs["macs_g"]
    assert row.accuracy == table.wide().loc[table.rows[5].hash, EPOCHS]


def test_a_folder_without_curves_says_what_writes_them(folder, tmp_path):
    for name in ("table.json", "architectures.jsonl"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(UserError, match=r"curves.csv is missing; benchmarks/train_table.py --output"):
        read_trained(tmp_path)


def test_the_distance_of_two_codes_is_the_mean_over_what_matters_for_one(space, problem):
    a, b = problem.code(0), problem.code(1)
    either = space.active(a) | space.active(b)
    assert problem.space.distances(a)[1] == pytest.approx(
        np.mean([_apart(space.by_name[n], a[n], b[n], n in space.active(a) & space.active(b)) for n in either])
    )
    assert problem.space.distances(a)[0] == 0


def _apart(dimension, a, b, both):
    if not both:
        return 1.0
    if dimension.ordered:
        return abs(dimension.choices.index(a) - dimension.choices.index(b)) / (len(dimension.choices) - 1)
    return 0.0 if a == b else 0.5 if a.partition("(")[0] == b.partition("(")[0] else 1.0


def test_a_proposal_settles_on_the_nearest_row_that_was_not_tried(space, problem):
    code = space.sample(np.random.default_rng(7))
    order = np.argsort(problem.space.distances(code), kind="stable")
    assert [problem.settle(code, set(order[:k])) for k in range(ROWS)] == order.tolist()
    assert problem.settle(problem.code(3), ()) == 3


def test_children_of_rows_are_other_rows_near_them(problem):
    rng, rows = np.random.default_rng(0), {row.hash for row in problem.source.rows}
    for _ in range(20):
        child = problem.space.mutate(problem.code(2), rng)
        place = problem.settle(child, ())
        assert problem.space.decode(child) in rows - {problem.network(2)}
        assert place in np.argsort(problem.space.distances(problem.code(2)))[1:6]
        assert problem.space.decode(problem.space.crossover(problem.code(2), child, rng)) in rows


def test_networks_that_failed_to_learn_do_not_bound_the_hypervolume(problem):
    assert problem.reference == pytest.approx(reference_point(problem.losses))
    assert problem.share(list(range(ROWS))) == pytest.approx(1)
    assert problem.share([0]) < 1


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", ["random", "TPE, multivariate", "TPE, multivariate, branches", "NSGA-II (20)"])
def test_peers_try_every_row_once_and_find_everything(problem, name):
    places = (PEERS | IN_PARTS)[name](problem, ROWS, 0)
    assert sorted(places) == list(range(ROWS))


def test_ours_tries_every_row_once(problem):
    assert sorted(partial(ours, "nsga2", costs_known)(problem, ROWS, 0)) == list(range(ROWS))


def test_a_search_with_a_rule_spends_what_its_trials_were_trained(problem):
    draw = stopped_search.proposals(problem, "random", 0)
    replay = fidelity.run_rule(make_rule("halving", problem.objectives, EPOCHS), draw, EPOCHS * ROWS)
    assert 0 < len(replay.finished) <= ROWS
    assert len({trial.hash for _, trial in replay.finished}) == len(replay.finished)
    assert all(b - a >= EPOCHS // 2 for (a, _), (b, _) in pairwise(replay.finished))


def test_training_saved_is_counted_where_the_mean_reaches_the_other():
    mean, other = np.array([0.2, 0.5, 0.9, 0.95]), np.array([0.1, 0.2, 0.4, 0.5])
    assert stopped_search.saving(mean, other, 4) == "2.00"
    assert stopped_search.saving(other, mean, 4) == "<1.00"


def test_a_second_seed_that_agrees_leaves_the_front_as_it_is(folder):
    table = read_trained(folder)
    first = table.curves[table.curves["seed"] == 0]
    twin = replace(table, curves=pd.concat([first, first.assign(seed=1)], ignore_index=True))
    reversed_ = replace(table, curves=pd.concat([first, first.assign(seed=1, accuracy=1 - first["accuracy"])]))
    assert (retrained(twin)["share"] == 1).all()
    assert (retrained(reversed_)["share"] < 1).any()
