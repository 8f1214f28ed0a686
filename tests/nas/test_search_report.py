"""How good the search was: when to stop, what became of proposals, who wins at which cost, which limit binds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest

from evaluators.cost import cost_metrics
from nas.campaign import Campaign
from nas.genotype import Atom, Genotype, Stage
from nas.limits import Gain, binding, relaxed, volume_gain
from nas.objective import Constraint
from nas.reporting.figures import figures
from nas.reporting.limits import limits_table, limits_words
from nas.reporting.page import page
from nas.reporting.proposed import proposed_table, proposed_words
from nas.reporting.stopping import advice, stopping_table, stopping_words
from nas.reporting.surrogate import Surrogate
from nas.reporting.winners import band_edges, draw_winners, true_accuracies, winners_table, winners_words
from nas.run import Rejection, Run
from nas.trial import Trial
from search_spaces.vit import make_space

DATA = {"image_size": 8, "in_chans": 1, "classes": 10, "validation": 1000}
SHAPE = {name: DATA[name] for name in ("image_size", "in_chans", "classes")}
Make = Callable[..., Campaign]


def network(mixer: str) -> Genotype:
    return Genotype(topology="pyramid", stem=Atom("patch", size=2), stages=(Stage(width=32, depth=2, a=Atom(mixer)),))


def trial(n: int, accuracy: float | None, macs: float = 0.01, mixer: str = "softmax", **changes: Any) -> Trial:
    values = {"macs_g": macs, "params_m": 0.2} | ({} if accuracy is None else {"accuracy": accuracy})
    basics = Trial(
        number=n, kind="search", name=f"trial {n}", state="failed" if accuracy is None else "complete",
        genotype=network(mixer), hash=f"{n:012x}", code={}, values=values, started=60.0 * n, finished=60.0 * n + 60,
    )  # fmt: skip
    return replace(basics, **changes)


def run_of(make: Make, *trials: Trial, rejections: tuple[Rejection, ...] = (), notes: Any = (), **sections: Any) -> Run:
    return Run(path=Path("runs/toy"), campaign=make(**sections), environment={"data": DATA}, trials=trials,
               rejections=rejections, notes=notes)  # fmt: skip


def refused(reason: str, detail: str = "") -> Rejection:
    return Rejection(reason=reason, detail=detail, hash="", at=0.0)


def growing(count: int) -> list[Trial]:
    return [trial(n, 0.5 + 0.4 * n / count, macs=0.01 * (1 + n % 5)) for n in range(count)]


def test_the_last_third_and_the_pace_are_those_of_the_record(make_campaign: Make) -> None:
    table = stopping_table(run_of(make_campaign, *growing(60))).set_index("span")
    assert table.loc["past", ["trials", "minutes"]].tolist() == [20, pytest.approx(20)]
    assert table.loc["half", ["trials", "minutes"]].tolist() == [30, pytest.approx(30)]
    assert table.loc["hour", "trials"] == 60
    assert (table.loc[["rate", "hour", "half"], "low"] < table.loc[["rate", "hour", "half"], "high"]).all()


def test_an_hour_of_more_trials_than_there_were_is_not_forecast(make_campaign: Make) -> None:
    fast = [replace(t, started=float(t.number), finished=t.number + 1.0) for t in growing(60)]
    table = stopping_table(run_of(make_campaign, *fast))
    assert list(table["span"]) == ["past", "rate", "half"]
    assert table.set_index("span").loc["rate", "minutes"] == 1.0


def test_advice_follows_the_chance_of_a_gain() -> None:
    assert advice(0.05).startswith("Stop")
    assert advice(0.4).startswith("Whether")
    assert advice(0.9).startswith("Go on")


def test_where_the_space_is_exhausted_nothing_is_forecast(make_campaign: Make) -> None:
    run = run_of(make_campaign, *growing(60), notes=("no new architecture; the space is exhausted",))
    assert stopping_table(run).empty
    assert "no further network" in stopping_words(run, stopping_table(run))


def test_every_proposal_is_counted_once(make_campaign: Make) -> None:
    limits = {"params_m": "<= 0.3", "macs_g": "<= 0.02"}
    dear = trial(2, 0.9, macs=0.03, state="infeasible")
    cut = trial(3, None, state="stopped")
    known = refused("constraint", "params_m")
    told = (known, known, refused("duplicate"), refused("invalid", "x"))
    run = run_of(make_campaign, trial(0, 0.8), trial(1, None), dear, cut, rejections=told, constraints=limits)
    found = proposed_table(run).set_index(["outcome", "metric"])["proposals"].to_dict()
    assert found == {("constraint", "params_m"): 2, ("duplicate", ""): 1, ("invalid", ""): 1, ("complete", ""): 1,
                     ("failed", ""): 1, ("infeasible", "macs_g"): 1, ("cut", ""): 1}  # fmt: skip
    assert proposed_table(run)["share"].sum() == pytest.approx(1)
    words = proposed_words(run, proposed_table(run))
    assert words.startswith("Of 8 proposals 1 were trained to the end; 2 broke the limit on parameters before any work")
    assert "first of them" in words


def test_a_sampler_that_filters_its_candidates_is_said_to(make_campaign: Make) -> None:
    run = run_of(make_campaign, trial(0, 0.8), sampler={"name": "pareto"})
    assert "pareto passes over duplicates" in proposed_words(run, proposed_table(run))


def test_a_clear_lead_wins_and_equal_accuracies_tie(make_campaign: Make) -> None:
    clear = [trial(n, (0.6, 0.9)[n % 2] + n / 1e4, mixer=("window", "softmax")[n % 2]) for n in range(8)]
    table = winners_table(run_of(make_campaign, *clear))
    assert (table["mechanism"][0], table["trial"][0]) == ("softmax", 7)
    assert table["chance"][0] > 0.99
    assert table["lead"][0] == pytest.approx(0.3, abs=0.03)
    equal = [replace(t, values={**t.values, "accuracy": 0.8}) for t in clear]
    table = winners_table(run_of(make_campaign, *equal))
    assert table["tied"].tolist() == [False, True]
    assert table["chance"].tolist() == pytest.approx([0.5, 0.5], abs=0.05)


def test_bands_hold_every_trial_once_and_end_at_costs_of_trials(make_campaign: Make) -> None:
    rng = np.random.default_rng(0)
    drawn = zip(rng.random(40), rng.random(40), rng.choice(["softmax", "window", "pooling"], 40), strict=True)
    trials = [trial(n, accuracy, macs=macs, mixer=mixer) for n, (accuracy, macs, mixer) in enumerate(drawn)]
    table = winners_table(run_of(make_campaign, *trials))
    assert table["trials"].sum() == 40
    assert set(band_edges(trials, "macs_g")) <= {t.values["macs_g"] for t in trials}
    assert alt.Chart.from_dict(draw_winners(table, "macs_g"), validate=True)


def test_true_accuracies_are_pulled_to_their_band_as_empirical_bayes_says() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(0.7, 0.02, 400)
    found = rng.binomial(1000, truth) / 1000
    drawn = true_accuracies([found], 1000, rng)[0]
    noise = 0.7 * 0.3 / 1000
    expected = found.mean() + (found.var() - noise) / found.var() * (found - found.mean())
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=6e-3)
    assert ((drawn.mean(axis=0) - truth) ** 2).mean() < ((found - truth) ** 2).mean()


def table_of(run: Run) -> pd.DataFrame:
    return limits_table(run, Surrogate(run))


def test_bounds_give_by_a_tenth_on_their_open_side() -> None:
    assert relaxed(Constraint.parse("params_m", "<= 2")).bound == pytest.approx(2.2)
    assert relaxed(Constraint.parse("params_m", ">= 2")).bound == pytest.approx(1.8)


def test_a_limit_binds_or_not_only_where_the_whole_interval_says_so() -> None:
    intervals = {"yes": (0.002, 0.02), "maybe": (0.0, 0.02), "no": (0.0, 0.0005)}
    assert {word: binding(Gain(mean=0.01, low=a, high=b)) for word, (a, b) in intervals.items()} == {
        word: word for word in intervals
    }


def test_more_networks_raise_the_hypervolume_as_counted_by_hand() -> None:
    within, reference = np.array([[1.0, 1.0], [1.5, 1.5]]), np.array([2.0, 3.0])  # a rectangle of 1 by 2
    assert volume_gain(within, np.array([[0.5, 2.0]]), reference) == pytest.approx(0.5 / 2)
    assert volume_gain(within, np.array([[1.2, 1.2]]), reference) == pytest.approx(0)
    assert volume_gain(within, np.empty((0, 2)), reference) == pytest.approx(0)


@pytest.fixture(scope="module")
def sampled() -> list[Trial]:
    """Random small networks whose accuracy grows with their parameters."""
    space, rng = make_space("vit_small", **SHAPE), np.random.default_rng(0)
    found: list[Trial] = []
    while len(found) < 24:
        code = space.sample(rng)
        genotype = space.decode(code)
        costs = cost_metrics(genotype, **SHAPE)
        if costs["params_m"] <= 0.2:
            values = costs | {"accuracy": 0.5 + 1.5 * costs["params_m"]}
            found.append(trial(len(found), 0.0, genotype=genotype, code=dict(code), values=values))
    return found


def test_the_limit_that_holds_accuracy_back_binds_and_no_other(make_campaign: Make, sampled: list[Trial]) -> None:
    limits = {"params_m": "<= 0.2", "memory_mb": "<= 500"}
    run = run_of(make_campaign, *sampled, constraints=limits)
    run = replace(run, environment={"data": DATA | {"validation": 10**6}})  # the made-up accuracies are exact
    table = table_of(run).set_index("metric")
    assert table["binds"].to_dict() == {"params_m": "yes", "memory_mb": "no"}
    assert 0.002 < table.loc["params_m", "accuracy"] < 1.5 * 0.02 + 0.01, table  # a tenth of 0.2 M is 3 points at most
    assert not table.loc["memory_mb", ["breaking", "alone", "networks", "gain_high"]].any()
    assert table.loc["params_m", "alone"] == table.loc["params_m", "breaking"] > 0
    assert limits_words(run, table_of(run)).startswith("The limit on parameters binds. params_m <= 0.2:")


def test_a_limit_on_a_cost_that_only_trials_tell_is_judged_as_well(make_campaign: Make, sampled: list[Trial]) -> None:
    slower = [replace(t, values=t.values | {"latency_ms": 1 + 5 * t.values["params_m"]}) for t in sampled]
    run = run_of(make_campaign, *slower, constraints={"latency_ms": "<= 2", "accuracy": ">= 0.5"})
    run = replace(run, environment={"data": DATA | {"validation": 10**6}})
    table = table_of(run).set_index("metric")
    assert list(table.index) == ["latency_ms"]  # no cost is limited besides
    row = table.loc["latency_ms"]
    assert (row["learnt"], row["binds"]) == (True, "maybe")  # trials within it tell little of what is beyond
    assert 0 < row["breaking"] < 1
    assert row["accuracy_high"] > 0.005


def test_limits_are_the_same_whenever_they_are_asked_for(make_campaign: Make, sampled: list[Trial]) -> None:
    run = run_of(make_campaign, *sampled[:14], constraints={"params_m": "<= 0.2"})
    assert table_of(run).equals(table_of(run))


def test_without_limits_trials_or_a_space_the_words_say_so(make_campaign: Make, sampled: list[Trial]) -> None:
    free, few = run_of(make_campaign, *sampled), run_of(make_campaign, trial(0, 0.8), constraints={"params_m": "<= 1"})
    lost = run_of(make_campaign, *(replace(t, code={"gone": 1}) for t in sampled), constraints={"params_m": "<= 1"})
    words = [limits_words(run, table_of(run)) for run in (free, few, lost)]
    assert "no limit binds" in words[0]
    assert "from 12 complete trials on" in words[1]
    assert "not at hand" in words[2]


@pytest.mark.parametrize("objectives", [["accuracy", "macs_g"], ["accuracy", "macs_g", "params_m"]])
@pytest.mark.parametrize("kind", ["none", "one", "three", "equal", "failed"])
def test_degenerate_campaigns_have_a_page(make_campaign: Make, kind: str, objectives: list[str]) -> None:
    trials = {
        "none": [], "one": [trial(0, 0.8)], "three": [trial(n, 0.5 + n / 10, macs=n + 1.0) for n in range(3)],
        "equal": [trial(n, 0.8) for n in range(24)], "failed": [trial(n, None) for n in range(24)],
    }[kind]  # fmt: skip
    run = run_of(make_campaign, *trials, objectives=objectives, constraints={"params_m": "<= 1"})
    drawn = figures(run)
    assert {f.name for f in drawn} >= {"stopping", "limits", "proposed", "winners"}
    assert all(f.reading for f in drawn)
    assert all(alt.Chart.from_dict(f.spec, validate=True) for f in drawn if f.spec and f.section == "search")
    assert "How good was the search" in page(run, drawn)
    assert winners_words(run, winners_table(run))
