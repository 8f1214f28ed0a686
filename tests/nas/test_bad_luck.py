"""Whole campaigns with bad luck: each ends, says what happened in one line, and loses nothing that was found."""

import math
import zlib
from dataclasses import replace

import pytest
from curve_worker import CurveWorker
from free_worker import FreeWorker

from nas.errors import UserError
from nas.fidelity import RULES
from nas.run import load_run
from nas.samplers import SAMPLERS
from nas.session import search
from nas.trial import Outcome, Point, sound
from nas.worker import Measured
from search_spaces.space import Dimension
from search_spaces.vit import make_space

PLAIN = {"topology": "plain", "position": "learned", "plain.mixer_a": "softmax", "plain.mixer_b": "same"}
TWELVE = ("plain.width", "plain.depth")  # four widths, and three of the depths
COMBINATIONS = [*((s, "halving") for s in SAMPLERS), *(("pareto", rule) for rule in RULES if rule != "halving")]


class Failing(CurveWorker):
    def steps(self, job):
        yield Outcome(state="failed", error="out of memory: 3 GB")


class Equal(CurveWorker):
    """Every network ends at the same accuracy, and is there from the first epoch."""

    def steps(self, job):
        for step in super().steps(job):
            if isinstance(step, Point):
                yield replace(step, accuracy=0.5)
            else:
                curve = tuple(replace(p, accuracy=0.5) for p in step.curve)
                yield replace(step, curve=curve, values={"accuracy": 0.5} if step.values else {})


class NoNumber(CurveWorker):
    """Every second trial ends with an accuracy that is none."""

    every = 2

    def steps(self, job):
        for step in super().steps(job):
            lost = isinstance(step, Outcome) and job.trial % self.every == self.every - 1 and job.until is None
            yield replace(step, values={"accuracy": math.nan}) if lost else step


class NoNumbers(NoNumber):
    """Whatever ends, ends so."""

    every = 1


class Lottery(FreeWorker):
    """Accuracy has nothing to do with the network's size."""

    def steps(self, job):
        for step in super().steps(job):
            values = {"accuracy": zlib.crc32(job.hash.encode()) / 2**32}
            yield replace(step, values=values) if isinstance(step, Outcome) else step


class NoTime(FreeWorker):
    """The clock stands still for every second trial."""

    def steps(self, job):
        ms = math.nan if job.trial % 2 else 1.0 + job.trial
        yield Measured(ms=ms, low=ms, high=ms)
        for step in super().steps(job):
            yield replace(step, values=step.values | {"latency_ms": ms}) if isinstance(step, Outcome) else step


def space_of(*free, **narrow):
    """vit_small with all but a few dimensions fixed."""
    space = make_space("vit_small", image_size=8, in_chans=1, classes=10)
    fixed = {d.name: PLAIN.get(d.name, d.choices[0]) for d in space.dimensions if d.name not in free}
    return {"name": "vit_small", "fix": fixed, "narrow": narrow}


def same_macs():
    """Neither the size of heads nor a table of positions changes what is multiplied."""
    return space_of("plain.head_dim", "plain.mixer_a", **{"plain.mixer_a": ["softmax", "softmax(position=table)"]})


def twelve():
    return space_of(*TWELVE, **{"plain.depth": [2, 3, 4]})


@pytest.fixture
def small(make_campaign):
    """Sixty networks at most, ten epochs each."""

    def make(trials=8, sampler="pareto", rule="none", startup=4, **sections):
        settings = {
            "space": space_of(*TWELVE, "plain.ffn_ratio"),
            "sampler": {"name": sampler, "startup": startup, "population": max(4, startup)},
            "fidelity": {"name": rule, "startup": 10}, "training": {"epochs": 10, "augment": []},
        }  # fmt: skip
        return make_campaign(trials, **settings | sections)

    return make


@pytest.fixture
def without_report(monkeypatch):
    """Drawing it takes longer than the search."""
    monkeypatch.setattr("nas.session.write_folder", lambda run: None)


def run_with(worker, campaign, folder, **options):
    return search(campaign, runs=folder, quiet=True, make_worker=worker, **options)


@pytest.mark.parametrize(("sampler", "rule"), COMBINATIONS)
def test_a_campaign_of_nothing_but_failures_ends(small, tmp_path, without_report, sampler, rule):
    run = run_with(Failing, small(8, sampler, rule), tmp_path)
    assert (run.status, len(run.searched()), run.front()) == ("finished", 8, [])
    assert {(t.state, t.error) for t in run.searched()} == {("failed", "out of memory: 3 GB")}


@pytest.mark.parametrize(("sampler", "rule"), COMBINATIONS)
def test_a_campaign_of_equal_accuracies_ends_with_the_cheapest(small, tmp_path, without_report, sampler, rule):
    run = run_with(Equal, small(8, sampler, rule), tmp_path)
    assert run.status == "finished"
    cheapest = min(t.values["macs_g"] for t in run.complete())
    assert {t.values["macs_g"] for t in run.front()} == {cheapest}


@pytest.mark.parametrize(("sampler", "rule"), COMBINATIONS)
def test_an_accuracy_that_is_no_number_is_a_failed_trial(small, tmp_path, without_report, sampler, rule):
    run = run_with(NoNumber, small(8, sampler, rule), tmp_path)
    failed = [t for t in run.searched() if t.state == "failed"]
    assert run.status == "finished"
    assert failed
    assert {t.error for t in failed} == {"accuracy is nan"}
    assert all("accuracy" not in t.values for t in failed)
    assert all(t.number % 2 == 0 for t in run.complete())


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_where_all_networks_cost_the_same_the_most_accurate_is_the_front(small, tmp_path, without_report, sampler):
    run = run_with(Lottery, small(6, sampler, space=same_macs()), tmp_path)
    assert (len(run.complete()), len({t.values["macs_g"] for t in run.complete()})) == (6, 1)
    assert [t.values["accuracy"] for t in run.front()] == [max(t.values["accuracy"] for t in run.complete())]


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_a_budget_below_the_warm_start_is_spent(small, tmp_path, without_report, sampler):
    run = run_with(FreeWorker, small(5, sampler, startup=12), tmp_path)
    assert (run.status, len(run.complete())) == ("finished", 5)


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s != "gp"])  # its 30 proposals take seconds each time
def test_twelve_networks_are_all_found_and_the_search_ends(small, tmp_path, without_report, sampler):
    run = run_with(FreeWorker, small(50, sampler, startup=11, space=twelve()), tmp_path)
    assert (run.status, len(run.complete())) == ("finished", 12)
    assert sum("exhausted" in note for note in run.notes) == 1


def test_a_cost_that_is_no_number_is_a_failed_trial(small, tmp_path, without_report, fake_sessions):
    run = run_with(NoTime, small(6, objectives=["accuracy", "latency_ms"]), tmp_path)
    assert [(t.state, t.error) for t in run.searched()] == [("complete", None), ("failed", "latency_ms is nan")] * 3


def test_a_last_measurement_that_is_no_number_leaves_the_first(small, tmp_path, without_report, fake_sessions):
    fake_sessions.width = math.nan
    run = run_with(NoTime, small(4, objectives=["accuracy", "latency_ms"]), tmp_path)
    assert run.status == "finished"
    assert {t.values["latency_ms"] for t in run.complete()} == {1.0, 3.0}
    assert any("could not be measured again: found Measured(" in note for note in run.notes)


def test_settings_without_effect_are_said(small, tmp_path, without_report):
    run = run_with(FreeWorker, small(1, "tpe", fidelity={"name": "none", "keep": 0.3}), tmp_path)
    assert run.notes == (
        "sampler.population has no effect: tpe does not use it", "fidelity.keep has no effect: none does not use it"
    )  # fmt: skip


def test_an_outcome_without_a_wrong_number_stays_as_it_is():
    point = Point(epoch=1, loss=0.3, accuracy=0.5, seconds=1.0)
    good = Outcome(state="complete", values={"accuracy": 0.5}, curve=(point,), intervals={"latency_ms": (1.0, 2.0)})
    assert sound(good) == good
    lost = sound(replace(good, curve=(point, replace(point, epoch=2, loss=math.inf))))
    assert (lost.state, lost.error, lost.curve) == ("failed", "loss or accuracy of epoch 2 is not finite", (point,))


@pytest.mark.parametrize(
    ("worker", "words"), [(Failing, "out of memory: 3 GB"), (NoNumbers, "accuracy is nan"), (Equal, "50.0 %")]
)
def test_the_report_of_a_campaign_that_learnt_nothing_is_written(small, tmp_path, worker, words):
    run = run_with(worker, small(6, rule="halving"), tmp_path)
    assert words in (run.path / "report" / "index.html").read_text()


def changed(space, what):
    """The space of another version of the code."""
    dimensions = {d.name: d for d in space.dimensions}
    if what == "bridge is gone":
        del dimensions["bridge"]
    elif what == "colour is new":
        dimensions["colour"] = Dimension(name="colour", choices=("red", "blue"))
    else:
        dimensions["tail"] = replace(dimensions["tail"], choices=(0, 1))
    return replace(space, dimensions=tuple(dimensions.values()))


@pytest.mark.parametrize("what", ["bridge is gone", "colour is new", "tail has other choices"])
def test_what_differs_of_a_changed_space_is_named_and_nothing_is_lost(make_campaign, tmp_path, monkeypatch, what):
    record = tmp_path / "test" / "journal.jsonl"
    monkeypatch.setattr("nas.session.write_folder", lambda run: None)
    run_with(FreeWorker, make_campaign(2), tmp_path)
    before = record.read_bytes()
    monkeypatch.setattr("nas.session.make_space", lambda *args, **options: changed(make_space(*args, **options), what))
    with pytest.raises(UserError, match=rf"vit_small have changed since it began \(then vitnas .*, {what}\); use"):
        run_with(FreeWorker, make_campaign(4), tmp_path, resume=True)
    assert record.read_bytes() == before


@pytest.fixture
def free_trials(monkeypatch, tmp_path):
    """Trials of the command line cost nothing, in an empty folder."""
    monkeypatch.setattr("nas.worker.Worker.steps", FreeWorker.steps)
    monkeypatch.chdir(tmp_path)


def test_the_command_line_says_in_one_line_that_the_space_is_exhausted(nas, small, tmp_path, free_trials):
    (tmp_path / "small.yaml").write_text(small(50, space=twelve()).to_yaml())
    status, _, err = nas("search", "small.yaml")
    assert (status, len(load_run("runs/test").complete())) == (0, 12)
    assert sum("exhausted" in line for line in err.splitlines()) == 1
    assert "exhausted" in (tmp_path / "runs" / "test" / "report" / "index.html").read_text()


def test_the_command_line_refuses_to_go_on_with_another_campaign(nas, small, tmp_path, free_trials, without_report):
    (tmp_path / "small.yaml").write_text(small(3).to_yaml())
    assert nas("search", "small.yaml", "--json")[0] == 0
    before = (tmp_path / "runs" / "test" / "journal.jsonl").read_bytes()
    status, out, err = nas("search", "small.yaml", "--set", "fidelity.name=halving", "--resume")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "changed since it began (fidelity.name: 'none' -> 'halving'); set it back or use another --name" in err
    assert (tmp_path / "runs" / "test" / "journal.jsonl").read_bytes() == before
