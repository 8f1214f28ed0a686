"""Whole searches that cut trials short: the record, kill -9 and resume, the budget, the check in the end."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import curve_worker
import free_worker
import numpy as np
import pytest
from curve_worker import CurveWorker
from ray import cloudpickle as ray_cloudpickle

from nas.fidelity.risk import risk
from nas.journal import read_journal
from nas.run import load_run
from nas.session import search
from search_spaces.vit import make_space

RUNGS = {"rungs": (0.1, 0.25, 0.5)}
HALVING = {"name": "halving", "keep": 0.4, "check": 0.1} | RUNGS
EXTRAPOLATION = {"name": "extrapolation", "startup": 10, "check": 0.2, "threshold": 0.2} | RUNGS
RULES = {"halving": HALVING, "extrapolation": EXTRAPOLATION}


class Interrupted(CurveWorker):
    """Stops like Ctrl-C when it is to go on with its third paused trial."""

    asked = 0

    def steps(self, job):
        self.asked += job.training_state is not None
        if self.asked == 3:
            raise KeyboardInterrupt
        yield from super().steps(job)


class Killed(CurveWorker):
    """Takes the whole process with it in the middle of the fifth trial that goes on."""

    asked = 0

    def steps(self, job):
        self.asked += job.training_state is not None
        for step in super().steps(job):
            yield step
            if self.asked == 5:
                os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """Drawing it takes longer than the search."""
    monkeypatch.setattr("nas.session.write_folder", lambda run: None)


@pytest.fixture
def campaign_of(make_campaign):
    def make(fidelity, trials=10, **sections):
        recipe = {"epochs": 20, "augment": []}
        return make_campaign(trials, training=recipe, fidelity=fidelity, sampler={"name": "random"}, **sections)

    return make


def run_curves(campaign, folder, worker=CurveWorker, **options):
    return search(campaign, runs=folder, quiet=True, make_worker=worker, **options)


def few_networks():
    """vit_small with all but the depth fixed."""
    space = make_space("vit_small", image_size=8, in_chans=1, classes=10)
    fixed = {d.name: d.choices[0] for d in space.dimensions if d.name != "plain.depth"}
    wanted = {"topology": "plain", "position": "learned", "plain.mixer_a": "softmax", "plain.mixer_b": "same"}
    return {"name": "vit_small", "fix": fixed | {k: v for k, v in wanted.items() if k in fixed}}


def epochs_trained(run):
    return Counter((run.path / "trained.txt").read_text().splitlines())


@pytest.mark.parametrize("fidelity", RULES.values(), ids=RULES)
def test_a_campaign_spends_its_budget_in_whole_schedules(campaign_of, tmp_path, fidelity):
    run = run_curves(campaign_of(fidelity, 30), tmp_path)
    assert run.status == "finished"
    assert len(run.searched()) > 30 >= len(run.complete()) > 3
    assert 29 <= sum(len(t.curve) for t in run.searched()) / 20 <= 31
    assert all(len(t.curve) in (2, 5, 10) for t in run.searched() if t.state in ("paused", "stopped"))
    assert all(len(t.curve) == 20 for t in run.complete())


@pytest.mark.parametrize("fidelity", RULES.values(), ids=RULES)
def test_no_epoch_is_trained_twice(campaign_of, tmp_path, fidelity):
    run = run_curves(campaign_of(fidelity), tmp_path)
    assert set(epochs_trained(run).values()) == {1}
    assert sum(epochs_trained(run).values()) == sum(len(t.curve) for t in run.trials)


def test_without_a_rule_everything_is_trained_in_full(campaign_of, tmp_path):
    run = run_curves(campaign_of({"name": "none"}, 4), tmp_path)
    assert [len(t.curve) for t in run.trials] == [20] * 4
    assert not {"paused", "judged", "assessed"} & {e["event"] for e in read_journal(run.path / "journal.jsonl")}


def test_references_are_trained_in_full(campaign_of, tmp_path):
    run = run_curves(campaign_of(HALVING, references=("deit_mini", "swin_mini")), tmp_path)
    assert [len(t.curve) for t in run.references()] == [20, 20]


def test_only_paused_trials_keep_the_state_of_their_training(campaign_of, tmp_path):
    run = run_curves(campaign_of(EXTRAPOLATION | {"threshold": 0.5}, 30), tmp_path)
    kept = {f"checkpoints/{p.name}" for p in (run.path / "checkpoints").glob("*.state.*")}
    assert "stopped" in {t.state for t in run.trials}
    assert kept == {t.training_state for t in run.trials if t.state == "paused"}


@pytest.mark.parametrize("fidelity", RULES.values(), ids=RULES)
def test_ctrl_c_then_resume_equals_one_go(campaign_of, tmp_path, fidelity):
    whole = run_curves(campaign_of(fidelity), tmp_path / "whole")
    assert run_curves(campaign_of(fidelity), tmp_path / "cut", Interrupted).status == "interrupted"
    resumed = run_curves(campaign_of(fidelity), tmp_path / "cut", resume=True)
    assert [(t.hash, t.state, t.curve) for t in resumed.trials] == [(t.hash, t.state, t.curve) for t in whole.trials]
    assert set(epochs_trained(resumed).values()) == {1}


def test_kill_9_then_resume_loses_the_epochs_since_the_last_rung_and_nothing_else(campaign_of, tmp_path):
    campaign, whole = campaign_of(HALVING), run_curves(campaign_of(HALVING), tmp_path / "whole")
    script = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}\n"
        "from test_campaigns import Killed, run_curves\nfrom nas.campaign import Campaign\nfrom pathlib import Path\n"
        f"campaign = Campaign.model_validate_json({campaign.model_dump_json()!r})\n"
        f"run_curves(campaign, Path({str(tmp_path / 'cut')!r}), Killed)"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    before = {t.number: t.state for t in load_run(tmp_path / "cut" / "test").trials}
    assert {"paused", "running"} <= set(before.values())
    resumed = run_curves(campaign, tmp_path / "cut", resume=True)
    assert [(t.hash, t.state, t.curve) for t in resumed.trials] == [(t.hash, t.state, t.curve) for t in whole.trials]
    assert sum(n - 1 for n in epochs_trained(resumed).values()) == 1


def cut_record(run, place):
    """What a kill leaves: the first so many events, and what the paused trials among them go on from."""
    record = run.path / "journal.jsonl"
    record.write_bytes(b"".join(record.read_bytes().splitlines(keepends=True)[:place]))
    for trial in load_run(run.path).trials:
        if trial.training_state:
            (run.path / trial.training_state).write_text(str(len(trial.curve)))


def test_a_kill_before_the_rule_spoke_leaves_it_its_word(campaign_of, tmp_path):
    whole = run_curves(campaign_of(EXTRAPOLATION, 14), tmp_path)
    events = read_journal(whole.path / "journal.jsonl")
    last_word = {e["trial"]: i for i, e in enumerate(events) if e["event"] == "judged" and e["chance"]}
    ended = {t.number for t in whole.complete()} - whole.checked
    cut_record(whole, max(i for number, i in last_word.items() if number in ended))
    resumed = run_curves(campaign_of(EXTRAPOLATION, 14), tmp_path, resume=True)
    assert [(t.hash, t.state, t.curve) for t in resumed.trials] == [(t.hash, t.state, t.curve) for t in whole.trials]
    assert resumed.chances == whole.chances


def test_a_kill_in_the_middle_of_the_check_leaves_what_was_expected_before_it(campaign_of, tmp_path):
    rule = HALVING | {"check": 0.3}
    whole = run_curves(campaign_of(rule, 20), tmp_path)
    events = [e["event"] for e in read_journal(whole.path / "journal.jsonl")]
    cut_record(whole, len(events) - 1 - events[::-1].index("resumed"))
    resumed = run_curves(campaign_of(rule, 20), tmp_path, resume=True)
    assert (resumed.chances, resumed.checked) == (whole.chances, whole.checked)
    assert risk(resumed) == risk(whole)


def test_what_the_rule_let_go_on_goes_on_after_a_kill(campaign_of, tmp_path, monkeypatch):
    run = run_curves(campaign_of(HALVING), tmp_path)
    events = read_journal(run.path / "journal.jsonl")
    place = next(i for i, e in enumerate(events) if e["event"] == "judged" and e["decision"] == "continue")
    cut_record(run, place + 1)
    monkeypatch.setattr("nas.fidelity.halving.HalvingRule.resume", lambda self, trials: None)  # what it would ask next
    run_curves(campaign_of(HALVING), tmp_path, resume=True)
    later = read_journal(run.path / "journal.jsonl")[place + 1 :]
    assert next(e["trial"] for e in later if e["event"] == "resumed") == events[place]["trial"]


def test_a_trial_whose_state_is_lost_is_trained_from_its_first_epoch(campaign_of, tmp_path):
    run = run_curves(campaign_of(HALVING, 4), tmp_path)
    for path in (run.path / "checkpoints").glob("*.state.*"):
        path.unlink()
    run = run_curves(campaign_of(HALVING, 12), tmp_path, resume=True)
    twice = {int(line.split()[0]) for line, n in epochs_trained(run).items() if n > 1}
    assert twice
    assert all([p.epoch for p in run.trials[n].curve] == list(range(1, len(run.trials[n].curve) + 1)) for n in twice)


@pytest.mark.parametrize("fidelity", RULES.values(), ids=RULES)
def test_the_check_finishes_its_share_and_compares_it_with_what_was_expected(campaign_of, tmp_path, fidelity):
    run = run_curves(campaign_of(fidelity | {"check": 0.25}, 24), tmp_path)
    found = risk(run)
    assert found.checked == len(run.checked) == int(np.ceil(found.cut / 4))
    assert all(run.trials[n].state == "complete" for n in run.checked)
    assert found.found == len(run.checked & {t.number for t in run.front()})
    assert 0 <= found.expected_checked <= found.expected <= found.cut
    assert found.stated == found.cut


def test_where_the_space_is_exhausted_what_was_paused_is_trained_to_the_end(campaign_of, tmp_path):
    run = run_curves(campaign_of(HALVING, 500, space=few_networks()), tmp_path)
    assert any("exhausted" in note for note in run.notes)
    assert {t.state for t in run.searched()} == {"complete"}


def test_a_larger_budget_goes_on_with_what_was_paused(campaign_of, tmp_path):
    first = run_curves(campaign_of(HALVING, 8), tmp_path)
    more = run_curves(campaign_of(HALVING, 16), tmp_path, resume=True)
    paused = {t.number for t in first.trials if t.state == "paused"}
    assert paused & {t.number for t in more.complete()}
    assert set(epochs_trained(more).values()) == {1}


@pytest.mark.parametrize(
    ("fidelity", "words"),
    [({"rungs": [0.5, 0.1]}, "rising shares"), ({"rungs": [0.5, 1.0]}, "below 1"), ({"rungs": []}, "at least 1 item")],
)
def test_rungs_that_make_no_sense_are_refused(campaign_of, fidelity, words):
    with pytest.raises(Exception, match=words):
        campaign_of(fidelity)


@pytest.fixture
def on_ray():
    """The workers cannot import what pytest has imported by path."""
    for module in (curve_worker, free_worker):
        ray_cloudpickle.register_pickle_by_value(module)
    return {"backend": "ray", "workers": 2}


@pytest.mark.slow
def test_ray_ends_well_where_the_space_is_exhausted_while_trials_run(campaign_of, tmp_path, on_ray):
    run = run_curves(campaign_of(HALVING, 50, space=few_networks(), execution=on_ray), tmp_path)
    assert sum("exhausted" in note for note in run.notes) == 1
    assert {t.state for t in run.searched()} == {"complete"}
    assert set(epochs_trained(run).values()) == {1}


@pytest.mark.slow
def test_ray_pauses_and_resumes_with_two_workers(campaign_of, tmp_path, on_ray):
    run = run_curves(campaign_of(HALVING, 6, execution=on_ray), tmp_path)
    assert run.status == "finished"
    assert {t.state for t in run.trials} == {"complete", "paused"}
    assert set(epochs_trained(run).values()) == {1}
    assert risk(run).checked >= 1


class Killing(CurveWorker):
    """A worker of Ray that takes the search with it, once, in the middle of the fifth trial that goes on."""

    def steps(self, job):
        record = self.folder / "journal.jsonl"
        for step in super().steps(job):
            yield step
            if job.training_state and not (self.folder / "killed").exists() and resumed_in(record) >= 5:
                (self.folder / "killed").touch()
                os.kill(int((self.folder.parent / "pid").read_text()), signal.SIGKILL)


def resumed_in(record):
    return record.read_text().count('"event":"resumed"')


@pytest.mark.slow
def test_kill_9_of_a_search_on_ray_keeps_what_was_finished_and_what_was_paused(campaign_of, tmp_path, on_ray):
    campaign = campaign_of(HALVING, 10, execution=on_ray)
    campaign = campaign.model_copy(update={"sampler": campaign.sampler.model_copy(update={"name": "pareto"})})
    script = (
        f"import os, sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}\n"
        "import curve_worker, free_worker, test_campaigns\nfrom nas.campaign import Campaign\n"
        "from pathlib import Path\nfrom ray import cloudpickle\n"
        "for m in (curve_worker, free_worker, test_campaigns): cloudpickle.register_pickle_by_value(m)\n"
        f"folder = Path({str(tmp_path)!r})\n(folder / 'pid').write_text(str(os.getpid()))\n"
        f"campaign = Campaign.model_validate_json({campaign.model_dump_json()!r})\n"
        "test_campaigns.run_curves(campaign, folder, test_campaigns.Killing)"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    before = load_run(tmp_path / "test")
    assert {"paused", "running"} <= {t.state for t in before.trials}
    resumed = run_curves(campaign, tmp_path, resume=True)
    done = [t for t in before.trials if t.state == "complete"]
    assert resumed.status == "finished"
    assert [resumed.trials[t.number] for t in done] == done
    again = {int(line.split()[0]) for line, count in epochs_trained(resumed).items() if count > 1}
    assert again <= {t.number for t in before.trials if t.state == "running"}
