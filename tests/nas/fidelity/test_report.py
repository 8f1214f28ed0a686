"""What the report says of trials that were cut short, against numbers counted by hand."""

from dataclasses import replace

import altair as alt
import pytest

from nas.campaign import Campaign
from nas.fidelity.risk import at_most, drawn, risk
from nas.reporting.fidelity import fidelity_table, fidelity_words, risk_table
from nas.reporting.figures import fidelity_figures
from nas.reporting.page import page
from nas.run import Run


@pytest.fixture
def run(make_trial, tmp_path):
    """Trials 0 to 3 trained in full, of which 3 only to check; 4 and 5 wait at epoch 5, 6 was stopped at epoch 2."""
    trials = [make_trial(i, 0.6 + 0.05 * i, 0.01 * (i + 1)) for i in range(4)]
    trials += [make_trial(i, 0.6, 0.05, until=5) for i in (4, 5)]
    trials.append(replace(make_trial(6, 0.6, 0.05, until=2), state="stopped"))
    campaign = Campaign.model_validate(
        {"data": {"source": "digits"}, "objectives": ["accuracy", "macs_g"], "training": {"epochs": 20}}
    )
    chances = {3: 0.3, 4: 0.02, 5: 0.1, 6: 0.0}
    return Run(
        path=tmp_path, campaign=campaign, environment={}, trials=tuple(trials), chances=chances, checked=frozenset({3})
    )


def test_epochs_trained_and_saved_are_counted_by_rung(run):
    table = fidelity_table(run)
    assert table["epoch"].tolist() == [2, 5, 20]
    assert table["cut_short"].tolist() == [1, 2, 0]
    assert table["trained"].tolist() == [2, 10, 80]
    assert table["saved"].tolist() == [18, 30, 0]


def test_the_risk_is_stated_and_checked(run):
    found = risk(run)
    assert (found.cut, found.stated, found.checked, found.found) == (4, 4, 1, 1)
    assert found.expected == pytest.approx(0.42)
    assert found.expected_checked == 0.3
    assert found.likeliest == (5, 0.1)
    words = fidelity_words(run, fidelity_table(run))
    assert "saved 48 of 140 epochs (34 %), the training of 2.4 whole trials" in words
    assert "0.42 of 4 that were ever cut short belong on the front; the likeliest is trial 5 (10 %)" in words
    assert "1 of them are on the front, where the forecast had said 0.3" in words


def test_the_table_of_risks_names_every_trial_that_was_cut(run):
    table = risk_table(run)
    assert table["trial"].tolist() == [3, 5, 4, 6]
    assert table["on_front"].tolist()[0] is True
    assert table["checked"].tolist() == [True, False, False, False]


def test_without_a_forecast_the_report_says_that_nothing_is_known(run):
    words = fidelity_words(replace(run, chances={}), fidelity_table(run))
    assert "cannot be said" in words
    assert "forecast had said" not in words


def test_the_page_shows_the_section_only_where_trials_were_cut_short(run):
    figures = fidelity_figures(run)
    alt.Chart.from_dict(figures[0].spec)
    assert 'id="fidelity"' in page(run, figures)
    whole = replace(run, trials=run.trials[:3], checked=frozenset())
    assert fidelity_figures(whole) == []
    assert 'id="fidelity"' not in page(whole, [])


def test_the_upper_end_of_a_share_is_the_exact_one():
    assert at_most(0, 10) == pytest.approx(1 - 0.1 ** (1 / 10))
    assert at_most(3, 3) == 1.0


def test_the_draw_is_a_fixed_share_that_only_grows_with_the_trials():
    first, later = drawn(range(20), 0.25, seed=1), drawn(range(20), 0.5, seed=1)
    assert len(first) == 5
    assert later[:5] == first
    assert drawn(range(20), 0.25, seed=2) != first
    assert drawn(range(3), 0.1, seed=0) == drawn(range(3), 0.1, seed=0)
    assert len(drawn(range(3), 0.1, seed=0)) == 1
