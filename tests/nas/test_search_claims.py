"""How good a search was: statements, calibration and intervals against made-up trials and closed forms."""

from dataclasses import asdict, replace
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, t

from nas.campaign import Campaign
from nas.genotype import Atom, Genotype, Stage
from nas.history import replay
from nas.random_search import RandomSearches
from nas.reporting.calibration import (
    calibration_table,
    calibration_words,
    draw_calibration,
    rank_correlation,
    share_interval,
)
from nas.reporting.figures import figures
from nas.reporting.importance import draw_importance, held_out_importance, interval_of_mean
from nas.reporting.random_search import (
    Comparison,
    _own_course,
    compare,
    draw_random_search,
    random_search_table,
    statement,
)
from nas.reporting.surrogate import Surrogate
from nas.run import Run
from nas.trial import Expectation, Point, Trial

ANY = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=32, depth=1),))


def trial(number: int, accuracy: float = 0.5, **changes: Any) -> Trial:
    basics = Trial(
        number=number, kind="search", name=f"trial {number}", state="complete", genotype=ANY, hash=str(number),
        code={"size": number}, values={"accuracy": accuracy, "params_m": 1.0}, finished=float(number),
    )  # fmt: skip
    return replace(basics, **changes)


def run_of(*trials: Trial, **sections: Any) -> Run:
    data = {"data": {"source": "digits"}, "objectives": ["accuracy", "params_m"], "training": {"epochs": 10}}
    campaign = Campaign.model_validate(data | sections)
    return Run(path=None, campaign=campaign, environment={}, trials=trials)  # type: ignore[arg-type]


def beside(own: float, *volumes: float) -> Comparison:
    """Ten trainings that reached `own`, and searches whose volume grows evenly up to these in twenty."""
    course = np.linspace(0, 1, 21) * np.array(volumes)[:, None]
    searches = RandomSearches(volumes=course)
    return Comparison(spent=np.arange(11.0), own=np.linspace(0, own, 11), searches=searches)


def test_how_many_times_the_trials_is_said_only_where_it_is_supported() -> None:
    better, same, worse = beside(0.79, 1.0), beside(0.5, 0.8, 1.0, 1.2), beside(0.2, 1.0)
    assert "about 1.6 times as many (90 %: 1.6 to 1.6)" in statement(better)
    assert "cannot be told apart, since 67 %" in statement(same)
    assert "more than this campaign's 0.2" in statement(worse)
    assert not any("times" in statement(found) for found in (same, worse))
    assert "more than 2 times as many" in statement(beside(3.0, 1.0))
    assert "at least 1.2 times as many; most do not" in statement(beside(1.05, *[1.9] * 10, *[1.0] * 90))


def test_a_trial_that_was_cut_short_costs_its_share_of_a_training() -> None:
    half = tuple(Point(epoch=e, loss=1.0, accuracy=0.5, seconds=1.0) for e in range(1, 6))
    turned_away, failed = trial(2, state="infeasible"), trial(3, state="failed")
    run = run_of(trial(0, 0.5), trial(1, state="stopped", curve=half), turned_away, failed, trial(4, 0.75))
    spent, own = _own_course(run, np.array([0.0, 2.0]))
    assert spent.tolist() == [0, 1, 1.5, 1.5, 2.5, 3.5]
    assert own.tolist() == [0, 0.5, 0.5, 0.5, 0.5, 0.75]
    searches = RandomSearches(volumes=np.zeros((2, 9)))
    table = random_search_table(Comparison(spent=spent, own=own, searches=searches))
    assert table["campaign"].tolist() == [0, 0.5, 0.5, 0.5]


def compared(run: Run) -> Comparison | str:
    return compare(run, Surrogate(run))


def test_nothing_is_compared_with_random_search_without_reason() -> None:
    many = [trial(i) for i in range(20)]
    assert "is a random search itself" in compared(run_of(*many, sampler={"name": "random"}))
    assert "needs 12 complete trials; this campaign has 3" in compared(run_of(*many[:3]))
    assert "space cannot be made" in compared(run_of(*many))


def test_calibration_counts_what_intervals_hold() -> None:
    errors = [0.0, 0.01, -0.01, 0.03, -0.03, 0.01, 0.0, -0.05]
    expected = {"accuracy": Expectation(mean=0.5, deviation=0.01, floor=0.3)}
    trials = [trial(i, 0.5 + e, expected=expected) for i, e in enumerate(errors)]
    table = calibration_table(run_of(*trials, trial(8), trial(9, state="stopped", expected=expected)))
    assert table["inside"].tolist() == [abs(e) < 0.016449 for e in errors]
    words = calibration_words(run_of(*trials), table)
    assert "held 5 of 8 (62 %" in words
    assert "too narrow" in words
    assert "On average it was 0.5 ± " in words


def test_what_is_worse_than_a_sampler_tells_apart_counts_as_that_low() -> None:
    expected = {"accuracy": Expectation(mean=0.41, deviation=0.01, floor=0.4)}
    run = run_of(*[trial(i, 0.4 - 0.1 * i, expected=expected) for i in range(3)])
    table = calibration_table(run)
    assert table["counted"].tolist() == [0.4] * 3
    assert table["inside"].all()
    assert "2 that did worse" in calibration_words(run, table)


@pytest.mark.parametrize(("found", "of"), [(0, 5), (3, 8), (8, 8)])
def test_the_interval_of_a_share_is_the_exact_one(found: int, of: int) -> None:
    exact = binomtest(found, of).proportion_ci(0.9, method="exact")
    assert share_interval(found, of) == pytest.approx((exact.low, exact.high))


def test_nine_of_ten_intervals_of_a_rank_correlation_hold_the_truth() -> None:
    rng, held = np.random.default_rng(0), 0
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman's of a normal pair whose correlation is 0.6
    for _ in range(300):
        x = rng.normal(size=40)
        found = rank_correlation(pd.DataFrame({"expected": x, "counted": 0.6 * x + 0.8 * rng.normal(size=40)}))
        held += found is not None and found[1] <= truth <= found[2]
    assert 0.85 < held / 300 < 0.95


def test_the_interval_of_held_out_means_is_the_corrected_one() -> None:
    values = np.array([0.1, 0.3, 0.2, 0.4])
    half = t.ppf(0.95, 3) * np.sqrt((1 / 4 + 1 / 4) * values.var(ddof=1))
    assert interval_of_mean(values, 0.25) == pytest.approx((0.25 - half, 0.25 + half))


def test_dimensions_without_effect_are_seldom_told_from_nothing() -> None:
    rng = np.random.default_rng(0)
    x, owners = rng.normal(size=(60, 11)), ["real", *(f"noise{i}" for i in range(10))]
    _, drops = held_out_importance(x, owners, x[:, 0] + 0.5 * rng.normal(size=60))
    told = {name for name, values in drops.items() if interval_of_mean(values, 0.25)[0] > 0}
    assert "real" in told
    assert len(told) <= 2


def test_the_charts_of_the_search_are_valid() -> None:
    trials = [
        trial(i, 0.5 + 0.01 * i, expected={"accuracy": Expectation(mean=0.5, deviation=0.02, floor=0.0)})
        for i in range(9)
    ]
    importance = pd.DataFrame(
        {"objective": "accuracy", "dimension": ["a", "b"], "importance": [0.5, 0.0], "low": [0.2, -0.1],
         "high": [0.8, 0.1], "matters": [True, False], "r2": 0.5, "trials": 40}
    )  # fmt: skip
    for spec in (
        draw_random_search(random_search_table(beside(0.8, 1.0))),
        draw_calibration(calibration_table(run_of(*trials))), draw_importance(importance),
    ):  # fmt: skip
        alt.Chart.from_dict(spec)


def test_a_record_without_expectations_reads_and_says_so() -> None:
    started = {"event": "started", "at": 1.0, "trial": 0, "kind": "search", "name": "trial 0", "code": {},
               "genotype": ANY.to_json(), "hash": "0", "costs": {}}  # fmt: skip
    assert replay([started]).trials[0].expected == {}
    expected = Expectation(mean=0.5, deviation=0.1, floor=0.2)
    event = started | {"expected": {"accuracy": asdict(expected)}}
    assert replay([event]).trials[0].expected == {"accuracy": expected}
    readings = {f.name: f.reading for f in figures(run_of(*[trial(i) for i in range(20)], sampler={"name": "tpe"}))}
    assert "the sampler tpe has none." in readings["calibration"]
