"""Rules on curves with a known end: whom they let go on, against brute force and a closed form."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from nas.fidelity import RULES, make_rule
from nas.fidelity.chance import bars, chances, counting_noise, step
from nas.fidelity.forecast import expected_ends, log_odds
from nas.fidelity.halving import promotion_order
from nas.objective import Objective, losses
from nas.pareto import hypervolume, reference_point

OBJECTIVES = (Objective(name="accuracy", direction="maximize"), Objective(name="macs_g", direction="minimize"))
THREE = (*OBJECTIVES, Objective(name="params_m", direction="minimize"))


def rule(name, **settings):
    return make_rule(name, OBJECTIVES, 20, **settings)


@pytest.fixture
def history(make_trial):
    """Thirty trials trained in full, whose accuracy follows from their cost but for some scatter."""
    rng = np.random.default_rng(0)
    costs = rng.uniform(0.01, 0.1, 30)
    return [make_trial(i, 0.6 + 3 * c + rng.uniform(-0.05, 0.05), c, rng=rng) for i, c in enumerate(costs)]


@pytest.mark.parametrize("name", list(RULES))
def test_every_rule_gives_the_same_answer_to_the_same_history(history, make_trial, name):
    trial = make_trial(50, 0.7, 0.05, until=2)
    trials = [*history, trial]
    answers = {(rule(name).decide(trials, trial), rule(name).resume(trials)) for _ in range(3)}
    assert len(answers) == 1
    assert answers.pop()[0] in ("continue", "pause", "stop")


@pytest.mark.parametrize("name", list(RULES))
def test_no_rule_resumes_what_it_has_just_paused(history, make_trial, name):
    for final in (0.55, 0.7, 0.9):
        trial = make_trial(50, final, 0.05, until=5)
        if rule(name).decide([*history, trial], trial) != "continue":
            assert rule(name).resume([*history, trial]) is None


@pytest.mark.parametrize("name", ["halving", "extrapolation"])
def test_the_cheapest_network_is_never_cut_short_while_an_accurate_dear_one_may_be(history, make_trial, name):
    cheapest = make_trial(50, 0.65, 0.005, until=5)
    dear = make_trial(51, 0.66, 0.099, until=5)
    trials = [*history, cheapest, dear]
    assert cheapest.curve[-1].accuracy < dear.curve[-1].accuracy
    assert rule(name).decide(trials, cheapest) == "continue"
    assert rule(name).decide(trials, dear) in ("pause", "stop")


def test_rungs_are_rounded_up_and_end_before_the_schedule():
    assert rule("halving", rungs=(0.1, 0.25, 0.5)).rung_epochs() == (2, 5, 10)
    assert make_rule("halving", OBJECTIVES, 3, rungs=(0.1, 0.25, 0.5, 0.99)).rung_epochs() == (1, 2)
    assert make_rule("halving", OBJECTIVES, 1).rung_epochs() == ()
    assert [rule("halving", rungs=(0.1, 0.25, 0.5)).next_rung(e) for e in (0, 2, 9, 10)] == [2, 5, 10, None]


def test_halving_lets_the_best_share_of_a_rung_go_on(history, make_trial):
    waiting = [make_trial(n, 0.6 + 0.01 * n, 0.05, until=2) for n in range(10)]
    promoted = rule("halving", keep=0.3).promoted(waiting, 2)
    assert promoted == [9, 8, 7]
    assert rule("halving", keep=0.3).resume(waiting) == 9
    assert rule("halving", keep=0.3).resume([replace(t, state="stopped") for t in waiting]) is None


def test_halving_compares_accuracies_at_the_same_epoch_only(make_trial):
    ahead = [make_trial(n, 0.7, 0.05 + 0.001 * n, until=10) for n in range(3)]
    early = make_trial(9, 0.8, 0.04, until=2)
    assert early.curve[-1].accuracy < ahead[0].curve[-1].accuracy
    assert rule("halving", keep=0.3).decide([*ahead, early], early) == "continue"


def test_halving_lets_wait_what_cannot_reach_the_front_any_more(history, make_trial):
    beaten = make_trial(50, 0.8, 0.09, until=10)
    trials = [*history, beaten, make_trial(51, 0.52, 0.1, until=10)]
    assert chances(trials, [beaten], OBJECTIVES, 20)[50] < 0.05
    assert rule("halving", keep=0.98, threshold=1e-12).decide(trials, beaten) == "continue"
    assert rule("halving", keep=0.98).decide(trials, beaten) == "pause"
    assert rule("halving", keep=0.98).resume(trials) is None


def test_promotion_goes_by_rank_and_then_by_the_volume_that_a_row_alone_adds():
    table = np.random.default_rng(1).random((12, 3))
    order = promotion_order(table)
    dominated = [sum((q <= p).all() and (q < p).any() for q in table) > 0 for p in table]
    assert not any(dominated[i] for i in order[: dominated.count(False)])
    front = table[order[: dominated.count(False)]]
    alone = [hypervolume(front, r) - hypervolume(np.delete(front, i, 0), r) for i, r in _corners(front)]
    assert alone == sorted(alone, reverse=True)


def _corners(front):
    return [(i, reference_point(front)) for i in range(len(front))]


def test_a_forecast_without_noise_is_the_line_that_the_curves_lie_on(make_trial):
    finals = np.linspace(0.55, 0.95, 20)
    complete = [make_trial(i, f, 0.01 * (i % 3 + 1)) for i, f in enumerate(finals)]
    partial = [make_trial(50 + i, f, 0.02, until=5) for i, f in enumerate((0.6, 0.8))]
    mean, variance = np.array(list(expected_ends(complete, partial, ["macs_g"]).values())).T
    assert mean == pytest.approx(log_odds([0.6, 0.8]), abs=0.15)
    assert (variance < 0.04).all()


def test_ninety_percent_of_the_ends_lie_in_the_forecast_intervals(make_trial):
    rng = np.random.default_rng(2)
    trials = [make_trial(i, rng.uniform(0.6, 0.95), rng.uniform(0.01, 0.1), rng=rng) for i in range(430)]
    inside = []
    for part in np.split(np.arange(30, 430), 20):
        complete = [trials[i] for i in rng.permutation(30)[:15]]
        asked = [replace(trials[i], curve=trials[i].curve[:5]) for i in part]
        mean, variance = np.array(list(expected_ends(complete, asked, ["macs_g"]).values())).T
        truth = log_odds([trials[i].values["accuracy"] for i in part])
        inside += list(np.abs(truth - mean) < norm.ppf(0.95) * np.sqrt(variance))
    assert 0.85 < np.mean(inside) < 0.96


def test_the_chance_is_that_of_a_gaussian_above_the_best_rival_that_costs_no_more(history, make_trial):
    trial = make_trial(50, 0.75, 0.06, until=5)
    mean, variance = expected_ends(history, [trial], ["macs_g"])[50]
    bar = max(t.values["accuracy"] for t in history if t.values["macs_g"] <= 0.06)
    drawn = np.random.default_rng(3).normal(mean, np.sqrt(variance), 200_000)
    found = chances([*history, trial], [trial], OBJECTIVES, 20)[50]
    assert found == pytest.approx(np.mean(drawn > log_odds(bar)), abs=0.005)


def test_with_three_objectives_a_rival_must_cost_no_more_in_both(history, make_trial):
    priced = [replace(t, values=t.values | {"params_m": 1.0 - 5 * t.values["macs_g"]}) for t in history]
    trial = make_trial(50, 0.75, 0.06, until=5)
    trial = replace(trial, values=trial.values | {"params_m": 0.8})
    reached = [t.values["accuracy"] for t in priced if t.values["macs_g"] <= 0.06 and t.values["params_m"] <= 0.8]
    assert bars([trial], priced, THREE[1:])[0] == max(reached)
    cheapest = replace(trial, values={"macs_g": 1.0, "params_m": 0.1})
    assert chances([*priced, cheapest], [cheapest], THREE, 20)[50] == 1.0


def test_what_was_cut_at_a_later_rung_keeps_an_early_forecast_honest(make_trial):
    rng, errors = np.random.default_rng(5), {"honest": [], "survivors alone": []}
    for _ in range(30):
        trials = [make_trial(i, rng.uniform(0.6, 0.9), 0.05, rng=rng) for i in range(60)]
        late = sorted(trials[:40], key=lambda t: t.curve[9].accuracy)
        cut = [replace(t, curve=t.curve[:10], state="paused") for t in late[:25]]
        early = [replace(t, curve=t.curve[:2], state="paused") for t in trials[40:]]
        for name, partial in (("honest", cut + early), ("survivors alone", early)):
            ends = expected_ends(late[25:], partial, ["macs_g"])
            errors[name] += [ends[t.number][0] - log_odds(t.values["accuracy"]) for t in trials[40:]]
    assert abs(np.mean(errors["honest"])) < 0.1 < np.mean(errors["survivors alone"])


def test_predicted_front_members_are_as_many_as_there_turn_out_to_be(make_trial):
    rng, expected, true = np.random.default_rng(4), 0.0, 0
    for _ in range(40):
        trials = [
            make_trial(i, rng.uniform(0.6, 0.9) + c, c, rng=rng) for i, c in enumerate(rng.uniform(0.01, 0.09, 35))
        ]
        rivals, asked = trials[:25], trials[25:]
        partial = [replace(t, curve=t.curve[:10], values={"macs_g": t.values["macs_g"]}, state="paused") for t in asked]
        expected += sum(chances(rivals + partial, partial, OBJECTIVES, 20).values())
        table = losses([t.values for t in rivals], OBJECTIVES)
        rows = losses([t.values for t in asked], OBJECTIVES)
        true += sum(not (table <= row).all(axis=1).any() for row in rows)
    assert expected == pytest.approx(true, rel=0.2)


def test_nothing_is_stopped_before_enough_trials_have_ended(history, make_trial):
    hopeless = make_trial(50, 0.51, 0.1, until=2)
    assert rule("extrapolation", startup=12).decide([*history[:11], hopeless], hopeless) == "continue"
    assert rule("extrapolation", startup=12).decide([*history[:12], hopeless], hopeless) in ("pause", "stop")


def test_extrapolation_resumes_what_the_front_has_left_a_place_for(history, make_trial):
    trial = make_trial(50, 0.8, 0.05, until=10)
    worse = [replace(t, values=t.values | {"accuracy": 0.5}) for t in history]
    assert rule("extrapolation").resume([*worse, trial]) == 50
    better = [replace(t, values=t.values | {"accuracy": 0.99, "macs_g": 0.01}) for t in history]
    assert rule("extrapolation").resume([*better, trial]) is None


def test_nothing_is_above_a_rival_that_errs_nowhere(history, make_trial):
    perfect = replace(make_trial(60, 0.9, 0.01), values={"macs_g": 0.01, "accuracy": 1.0})
    trial = make_trial(50, 0.95, 0.05, until=10)
    assert chances([*history, trial], [trial], OBJECTIVES, 20)[50] > 0.1
    assert chances([*history, perfect, trial], [trial], OBJECTIVES, 20)[50] == 0


def test_a_forecast_is_no_surer_than_the_counting_of_pictures():
    drawn = np.random.default_rng(0).binomial(288, 0.9, 20_000) / 288
    truth = np.log(drawn / (1 - drawn)).var()
    assert counting_noise(log_odds(np.array([0.9])), 1 / 288)[0] == pytest.approx(truth, rel=0.05)


def test_a_picture_is_worth_the_smallest_difference_of_two_accuracies(make_trial):
    counted = [
        replace(p, accuracy=round(p.accuracy * 288) / 288) for i in range(9) for p in make_trial(i, 0.9, 1).curve
    ]
    assert step([replace(make_trial(0, 0.9, 1), curve=tuple(counted))]) == pytest.approx(1 / 288, abs=1e-6)
    assert step([]) == 0
