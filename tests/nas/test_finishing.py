"""The end of a search: who is measured again, what stays predicted, and that nothing of it is lost or done twice."""

from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
from free_worker import FreeWorker

from nas.genotype import Atom, Genotype, Stage
from nas.history import replay
from nas.run import load_run
from nas.session import search
from nas.together import Together
from nas.uncertainty import dominated_probability


@pytest.fixture
def start(make_campaign, fake_profiles, tmp_path):
    """Searches whose latencies come from profiles of this device and of a phone."""

    def run(trials=10, resume=False, force=False, limit=None, minutes=10.0, **facts):
        file, phone = fake_profiles(tmp_path / "cpu.json", **facts), fake_profiles(tmp_path / "phone.json", slope=900.0)
        here = {"source": "profile", "file": str(file), "force": force}
        objectives = {
            "accuracy": "maximize",
            "latency_ms": here,
            "latency_ms@phone": {"source": "profile", "file": str(phone)},
        }
        campaign = make_campaign(
            trials, objectives=objectives, constraints={"latency_ms": limit} if limit else {},
            sampler={"name": "random"}, references=("deit_mini",), budget={"trials": trials, "minutes": minutes},
        )  # fmt: skip
        return search(campaign, runs=tmp_path / "runs", quiet=True, resume=resume, make_worker=FreeWorker)

    return run


def test_contenders_are_measured_again_and_the_phone_stays_predicted(start, fake_sessions):
    run = start()
    assert {t.number for t in run.front() + run.references()} <= set(fake_sessions.numbers[0])
    for trial in run.front():
        assert trial.measured_again == {"latency_ms"}
        assert trial.values["latency_ms"] == pytest.approx(1.1 * trial.predicted["latency_ms"][0])
        assert trial.values["latency_ms@phone"] == trial.predicted["latency_ms@phone"][0]
        assert trial.intervals["latency_ms@phone"] == trial.predicted["latency_ms@phone"][1:]


def test_who_may_be_on_the_front_by_the_prediction_is_measured_with_it(start, fake_sessions):
    run = start(20, spread=0.4)
    as_predicted = [
        replace(t, values=t.values | {n: p[0] for n, p in t.predicted.items()}, intervals=_ends(t))
        for t in run.complete()
    ]
    may = {n for n, p in dominated_probability(as_predicted, run.campaign.objective_list).items() if p < 0.95}
    assert may <= set(fake_sessions.numbers[0])
    assert may - {t.number for t in run.front()}


def _ends(trial):
    return {name: (low, high) for name, (_, low, high) in trial.predicted.items()}


def test_what_is_only_predicted_follows_the_scale_of_the_measurements(start, fake_sessions):
    run = start(20)
    assert run.scales == {"latency_ms": pytest.approx(1.1)}
    rest = [t for t in run.searched() if not t.measured_again]
    assert rest
    for trial in rest:
        assert trial.values["latency_ms"] == pytest.approx(1.1 * trial.predicted["latency_ms"][0])
        assert trial.intervals["latency_ms"] == pytest.approx([1.1 * end for end in trial.predicted["latency_ms"][1:]])
    assert load_run(run.path).scales == run.scales


def test_spare_time_goes_to_what_could_swap_on_one_scale(start, fake_sessions):
    fake_sessions.width = 0.3
    run = start(20)
    more = repeated(fake_sessions.numbers)
    assert 1 <= len(more) <= 4
    assert all(set(a) <= set(b) for a, b in pairwise(fake_sessions.numbers))  # caches are shared
    assert fake_sessions.references == [{}] + [{"a processor": 0.5}] * (len(fake_sessions.numbers) - 1)
    often = [t for t in run.trials if t.number in more[0]]
    assert all(t.intervals["latency_ms"][1] < 1.3 * t.values["latency_ms"] for t in often)  # sessions taken together


def test_the_front_says_how_probably_each_member_is_dominated(start, fake_sessions):
    run = start()
    table = pd.read_csv(run.path / "front.csv")
    assert list(table["p_dominated"]) == pytest.approx([run.p_dominated()[n] for n in table["trial"]])
    assert {"latency_ms_low", "latency_ms@phone_high"} <= set(table.columns)
    assert table["p_dominated"].between(0, 1).all()


def test_without_time_to_spare_there_is_one_session(start, fake_sessions):
    fake_sessions.width = 0.3
    run = start(20, minutes=1.0)  # a tenth of it is less than a session takes
    assert run.front()
    assert repeated(fake_sessions.numbers) == []


def repeated(sessions):
    """Those of networks that had all been measured before."""
    return [s for i, s in enumerate(sessions) if set(s) <= {n for before in sessions[:i] for n in before}]


def test_a_device_that_is_not_here_is_not_measured(start, fake_sessions):
    run = start(force=True, conditions={"device": "another processor"})
    assert fake_sessions.numbers == []
    assert all(t.measured_again == frozenset() for t in run.front())


def test_what_cannot_be_measured_keeps_its_prediction_and_a_note_says_so(start, monkeypatch):
    def vanished(campaign, genotypes, reference_ms):
        errors = dict.fromkeys(genotypes, "the device is gone (while measuring)")
        return Together(found={}, errors=errors, notes=("too hot",), device="a processor", reference_ms=None)

    monkeypatch.setattr("nas.finishing.measure_together", vanished)
    run = start()
    assert run.status == "finished"
    assert all(t.values["latency_ms"] == t.predicted["latency_ms"][0] for t in run.complete())
    assert "too hot" in run.notes
    assert any("could not be measured again: the device is gone" in note for note in run.notes)


def test_a_device_that_is_gone_costs_the_campaign_nothing(start, monkeypatch):
    def gone(campaign, genotypes, reference_ms):
        raise RuntimeError("CUDA error: device lost\nmore words")

    monkeypatch.setattr("nas.finishing.measure_together", gone)
    run = start()
    assert (run.status, len(run.complete())) == ("finished", 10)
    assert run.notes[-1] == "the front could not be measured again: CUDA error: device lost"
    assert (run.path / "report" / "index.html").is_file()


def test_a_limit_that_a_measurement_breaks_takes_a_member_off_the_front(start, fake_sessions):
    run = start(20, limit="<= 0.2")
    broken = [t for t in run.searched() if t.state == "infeasible"]
    assert broken
    assert all(t.intervals["latency_ms"][0] > 0.2 and "when measured again" in t.error for t in broken)
    assert all(t.intervals["latency_ms"][0] <= 0.2 for t in run.front())


def test_a_resumed_campaign_measures_only_when_something_is_new(start, fake_sessions):
    run = start(8)
    known = {t.number for t in run.trials if t.measured_again}
    again = start(8, resume=True)
    assert len(fake_sessions.numbers) == 1
    assert {t.number: t.values for t in again.front()} == {t.number: t.values for t in run.front()}
    longer = start(20, resume=True)
    new = {t.number for t in longer.front()} - known
    assert bool(new) == (len(fake_sessions.numbers) > 1)
    assert {t.number for t in longer.front()} <= {t.number for t in longer.trials if t.measured_again}
    assert all(t.values["latency_ms"] == pytest.approx(1.1 * t.predicted["latency_ms"][0]) for t in longer.searched())


def test_a_stop_while_measuring_loses_nothing(start, fake_sessions, monkeypatch):
    def stopped(campaign, genotypes, reference_ms):
        if fake_sessions.numbers:  # in the second session
            raise KeyboardInterrupt
        return fake_sessions(campaign, genotypes, reference_ms)

    monkeypatch.setattr("nas.finishing.measure_together", stopped)
    fake_sessions.width = 0.3
    run = start(20)
    assert run.status == "interrupted"
    measured = {t.number: t.values for t in load_run(run.path).trials if t.measured_again}
    assert set(measured) == set(fake_sessions.numbers[0])
    monkeypatch.setattr("nas.finishing.measure_together", fake_sessions)
    finished = start(20, resume=True)
    assert finished.status == "finished"
    assert {t.number for t in finished.front()} <= {t.number for t in finished.trials if t.measured_again}


def test_records_from_before_costs_had_devices_are_read():
    genotype = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=16, depth=1),))
    facts = {"kind": "search", "name": "trial 0", "genotype": genotype.to_json(), "hash": "g0", "code": {}, "costs": {}}
    events = [
        {"event": "started", "at": 0.0, "trial": 0, **facts},
        {"event": "remeasured", "at": 1.0, "trial": 0, "latency": {"ms": 2.0, "low": 1.9, "high": 2.1}},
    ]
    trial = replay(events).trials[0]
    assert (trial.values["latency_ms"], trial.intervals["latency_ms"]) == (2.0, pytest.approx((1.9, 2.1)))
