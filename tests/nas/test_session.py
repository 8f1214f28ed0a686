"""A whole search with free trials: budgets, rejections, failures, resume after Ctrl-C and kill -9, Ray."""

import errno
import os
import signal
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import free_worker
import numpy as np
import optuna
import pandas as pd
import pytest
from free_worker import FreeWorker, formula
from optuna.storages.journal import JournalFileBackend
from ray import cloudpickle as ray_cloudpickle

from nas.errors import DiskFullError, UserError
from nas.execution.tune import check_answers, cores
from nas.journal import Journal, encode
from nas.loop import Loop
from nas.run import load_run
from nas.session import prepare, search
from nas.trial import Outcome
from nas.worker import Worker
from search_spaces.vit import make_space


class Interrupted(FreeWorker):
    """Stops like Ctrl-C in its sixth trial."""

    def steps(self, job):
        if job.trial == 5:
            raise KeyboardInterrupt
        yield from super().steps(job)


class Killed(FreeWorker):
    """Takes the whole process with it in its sixth trial."""

    def steps(self, job):
        if job.trial == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().steps(job)


class Failing(FreeWorker):
    """Every second trial fails with a reason."""

    def steps(self, job):
        if job.trial % 2:
            yield Outcome(state="failed", error="loss is not a number in epoch 1")
            return
        yield from super().steps(job)


class Dying(FreeWorker):
    """Its process dies in the second trial, as when the system runs out of memory."""

    def steps(self, job):
        if job.trial == 1:
            os._exit(1)
        yield from super().steps(job)


def run_free(campaign, folder, worker=FreeWorker, **options):
    return search(campaign, runs=folder, quiet=True, make_worker=worker, **options)


def front_of(run):
    return sorted((t.hash, t.values["accuracy"], t.values["macs_g"]) for t in run.front())


def test_a_campaign_spends_its_budget_and_writes_its_folder(make_campaign, tmp_path):
    run = run_free(make_campaign(8), tmp_path)
    assert run.status == "finished"
    assert len(run.complete()) == 8
    assert all(t.values["accuracy"] == formula(t.genotype) for t in run.complete())
    trials = pd.read_csv(run.path / "trials.csv")
    assert {"trial", "state", "hash", "accuracy", "macs_g", "params_m", "memory_mb", "topology"} <= set(trials.columns)
    assert len(pd.read_parquet(run.path / "trials.parquet")) == 8
    assert len(pd.read_csv(run.path / "front.csv")) == len(run.front())
    assert len(list((run.path / "configs").iterdir())) == len(run.front())
    assert {"campaign.yaml", "environment.json", "journal.jsonl", "optuna.log"} <= {p.name for p in run.path.iterdir()}
    assert "<html" in (run.path / "report" / "index.html").read_text()


def test_optuna_opens_the_mirror_of_the_record(make_campaign, tmp_path):
    run = run_free(make_campaign(4), tmp_path, Failing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(run.path / "optuna.log")))
    study = optuna.load_study(study_name="test", storage=storage)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "FAIL"]
    assert [t.user_attrs["hash"] for t in study.trials] == [t.hash for t in run.trials]


def test_the_front_is_what_brute_force_finds(make_campaign, tmp_path):
    run = run_free(make_campaign(12), tmp_path)
    points = {t.number: (-t.values["accuracy"], t.values["macs_g"]) for t in run.complete()}
    beaten = {n for n, p in points.items() for q in points.values() if q != p and q[0] <= p[0] and q[1] <= p[1]}
    assert {t.number for t in run.front()} == set(points) - beaten


def test_no_architecture_is_tried_twice(make_campaign, tmp_path):
    narrow = {"name": "vit_small", "fix": {"topology": "plain", "plain.depth": 2}}
    run = run_free(make_campaign(20, space=narrow), tmp_path)
    hashes = [t.hash for t in run.searched()]
    assert len(set(hashes)) == len(hashes) == 20


def test_constraints_hold_and_rejections_are_counted(make_campaign, tmp_path):
    run = run_free(make_campaign(12, constraints={"params_m": "<= 0.05"}), tmp_path)
    assert len(run.complete()) == 12
    assert all(t.values["params_m"] <= 0.05 for t in run.complete())
    assert {r.detail for r in run.rejections if r.reason == "constraint"} == {"params_m"}


def test_the_default_sampler_proposes_nothing_beyond_a_known_limit(make_campaign, tmp_path):
    run = run_free(make_campaign(8, constraints={"params_m": "<= 0.05"}, sampler={"startup": 4}), tmp_path)
    assert run.campaign.sampler.name == "pareto"
    assert len(run.complete()) == 8
    assert not [r for r in run.rejections if r.reason == "constraint"]


def test_what_nothing_can_satisfy_is_said_before_any_work(make_campaign, tmp_path):
    with pytest.raises(UserError, match=r"constraints.params_m: nothing in the space .* give by a factor of"):
        run_free(make_campaign(4, constraints={"params_m": "<= 0.000001"}), tmp_path)
    assert not (tmp_path / "test").exists()


def test_no_time_means_no_trial(make_campaign, tmp_path):
    run = run_free(make_campaign(budget={"trials": 5, "minutes": 1e-9}), tmp_path)
    assert (len(run.trials), run.status) == (0, "finished")


def test_a_failed_trial_has_its_reason_and_the_campaign_goes_on(make_campaign, tmp_path):
    run = run_free(make_campaign(6), tmp_path, Failing)
    assert [t.state for t in run.searched()] == ["complete", "failed"] * 3
    assert run.searched()[1].error == "loss is not a number in epoch 1"


def test_references_are_trained_beside_the_search(make_campaign, tmp_path):
    run = run_free(make_campaign(3, references=("deit_mini", "swin_mini")), tmp_path)
    assert [t.name for t in run.references()] == ["deit_mini", "swin_mini"]
    assert len(run.searched()) == 3
    assert not {t.kind for t in run.front()} - {"search"}


@pytest.mark.parametrize("name", ["tpe", "pareto"])
def test_ctrl_c_then_resume_equals_one_go(make_campaign, tmp_path, name):
    campaign = make_campaign(12, sampler={"name": name, "startup": 4})
    whole = run_free(campaign, tmp_path / "whole")
    stopped = run_free(campaign, tmp_path / "cut", Interrupted)
    assert stopped.status == "interrupted"
    assert (stopped.path / "report" / "index.html").is_file()
    resumed = run_free(campaign, tmp_path / "cut", resume=True)
    assert [t.hash for t in resumed.trials] == [t.hash for t in whole.trials]
    assert front_of(resumed) == front_of(whole)


def test_kill_9_then_resume_equals_one_go(make_campaign, tmp_path):
    campaign, whole = make_campaign(12), run_free(make_campaign(12), tmp_path / "whole")
    script = (
        f"import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}\n"
        "from test_session import Killed, run_free\nfrom nas.campaign import Campaign\nfrom pathlib import Path\n"
        f"campaign = Campaign.model_validate_json({campaign.model_dump_json()!r})\n"
        f"run_free(campaign, Path({str(tmp_path / 'cut')!r}), Killed)"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    before = load_run(tmp_path / "cut" / "test")
    assert [t.state for t in before.trials] == ["complete"] * 5 + ["running"]
    resumed = run_free(campaign, tmp_path / "cut", resume=True)
    assert [t.finished for t in resumed.trials[:5]] == [t.finished for t in before.trials[:5]]
    assert [t.hash for t in resumed.trials] == [t.hash for t in whole.trials]
    assert front_of(resumed) == front_of(whole)


def test_a_changed_campaign_is_not_resumed_but_a_larger_budget_is(make_campaign, tmp_path):
    run_free(make_campaign(4), tmp_path)
    with pytest.raises(UserError, match=r"changed .*training.epochs: "):
        run_free(make_campaign(4, training={"epochs": 99}), tmp_path, resume=True)
    assert len(run_free(make_campaign(6), tmp_path, resume=True).complete()) == 6


def test_changed_data_are_not_resumed(make_campaign, tmp_path):
    path = tmp_path / "d.npz"
    images, labels = np.arange(60 * 64, dtype=np.uint8).reshape(60, 8, 8), np.arange(60) % 2
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    run_free(make_campaign(2, data={"source": str(path)}), tmp_path)
    np.savez(path, train_images=images[::-1], train_labels=labels, test_images=images, test_labels=labels)
    with pytest.raises(UserError, match="have changed since it began"):
        run_free(make_campaign(4, data={"source": str(path)}), tmp_path, resume=True)


def test_a_changed_space_is_not_resumed(make_campaign, tmp_path, monkeypatch):
    run_free(make_campaign(2), tmp_path)
    monkeypatch.setattr("search_spaces.vit.VERSION", "another")
    with pytest.raises(UserError, match="choices of space vit_small have changed"):
        run_free(make_campaign(4), tmp_path, resume=True)


def test_a_folder_that_holds_a_campaign_is_not_overwritten(make_campaign, tmp_path):
    run_free(make_campaign(2), tmp_path)
    with pytest.raises(UserError, match="--resume"):
        run_free(make_campaign(2), tmp_path)
    with pytest.raises(UserError, match="nothing to resume"):
        run_free(make_campaign(2, name="other"), tmp_path, resume=True)


def test_a_search_that_was_stopped_before_it_began_is_started_again(make_campaign, tmp_path):
    (tmp_path / "test").mkdir()
    with Journal(tmp_path / "test" / "journal.jsonl"):
        pass
    with pytest.raises(UserError, match="nothing to resume; start it without --resume"):
        run_free(make_campaign(2), tmp_path, resume=True)
    assert len(run_free(make_campaign(2), tmp_path).complete()) == 2


def test_an_exhausted_space_ends_well(make_campaign, tmp_path):
    space = make_space("vit_small", image_size=8, in_chans=1, classes=10)
    fixed = {d.name: d.choices[0] for d in space.dimensions if d.name not in ("plain.depth", "plain.width")}
    fixed |= {"topology": "plain", "position": "learned", "plain.mixer_a": "softmax", "plain.mixer_b": "same"}
    fixed = {k: v for k, v in fixed.items() if k in {d.name for d in space.dimensions}}
    run = run_free(make_campaign(500, space={"name": "vit_small", "fix": fixed}), tmp_path)
    assert run.status == "finished"
    assert 0 < len(run.complete()) < 500
    assert any("exhausted" in note for note in run.notes)


def test_a_full_disk_stops_cleanly_with_everything_found(make_campaign, tmp_path, monkeypatch):
    append = Journal.append

    def full(self, event, **payload):
        if event == "finished" and payload["trial"] == 3:
            raise DiskFullError("no space left")
        return append(self, event, **payload)

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(DiskFullError):
        run_free(make_campaign(8), tmp_path)
    monkeypatch.undo()
    assert len(load_run(tmp_path / "test").complete()) == 3
    assert len(run_free(make_campaign(8), tmp_path, resume=True).complete()) == 8


class OnAFullDisk(FreeWorker):
    """Cannot write the weights of its third trial."""

    def steps(self, job):
        return Worker._guarded(self, job)

    def _evaluate(self, job, trace):
        if job.trial == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        yield from super().steps(job)


def test_a_trial_that_a_full_disk_stopped_is_begun_again_and_not_failed(make_campaign, tmp_path):
    with pytest.raises(DiskFullError, match=r"trial 2: .*No space left on device; make room and resume"):
        run_free(make_campaign(4), tmp_path, OnAFullDisk)
    assert len(load_run(tmp_path / "test").complete()) == 2
    run = run_free(make_campaign(4), tmp_path, resume=True)
    assert [t.state for t in run.trials] == ["complete"] * 4


@pytest.mark.parametrize("record", [b"", encode({"n": 0, "at": 0.0, "event": "journal", "version": 1})])
def test_a_record_that_ends_before_its_session_is_started_anew(make_campaign, tmp_path, record):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "journal.jsonl").write_bytes(record)
    with pytest.raises(UserError, match="nothing to resume"):
        run_free(make_campaign(2), tmp_path, resume=True)
    assert len(run_free(make_campaign(2), tmp_path).complete()) == 2


def test_a_second_search_is_refused_while_the_first_makes_its_profile(make_campaign, tmp_path, monkeypatch):
    def second(*args, **options):
        monkeypatch.undo()
        run_free(make_campaign(2), tmp_path)

    monkeypatch.setattr("nas.session.prepare", second)
    with pytest.raises(UserError, match="another search is writing this campaign"):
        run_free(make_campaign(2), tmp_path)


@pytest.fixture
def loop_of(make_campaign, tmp_path):
    """A loop with nobody to run its jobs."""
    with Journal(tmp_path / "journal.jsonl") as journal:

        def make(**sections):
            campaign = make_campaign(1, objectives=["accuracy", "latency_ms"], **sections)
            return Loop(campaign, tmp_path, journal, prepare(campaign).proposer, [], "cpu")

        yield make


def test_a_trial_that_a_limit_turns_away_gives_its_place_to_another(loop_of):
    """Whoever runs several at once must wait for it; a serial search looks again by itself."""
    loop = loop_of(constraints={"latency_ms": "<= 1"})
    job = loop.next_job()
    assert (loop.next_job(), loop.waiting()) == (None, True)
    loop.finished(job, Outcome(state="infeasible", values={"latency_ms": 2.0}, error="latency_ms <= 1 is broken: 2"))
    assert not loop.waiting()
    assert loop.next_job().trial == 1


def test_nobody_waits_for_a_trial_that_uses_up_the_budget(loop_of):
    loop = loop_of()
    assert loop.next_job()
    assert (loop.next_job(), loop.waiting()) == (None, False)


@pytest.mark.parametrize(("workers", "cpus"), [(1, 1.0), (1, 1.4), (1, 2.5), (3, 1.5), (4, 0.5), (2, 0.0)])
def test_ray_has_the_cores_that_all_workers_ask_for_together(workers, cpus):
    assert workers * max(cpus, 1.0) <= cores(workers, cpus) < workers * max(cpus, 1.0) + 1


@pytest.mark.slow
def test_ray_runs_trials_and_survives_the_death_of_a_worker(make_campaign, tmp_path):
    for module in (sys.modules[__name__], free_worker):  # the workers cannot import what pytest has imported by path
        ray_cloudpickle.register_pickle_by_value(module)
    execution = {"backend": "ray", "workers": 2}
    run = run_free(make_campaign(6, execution=execution, references=("deit_mini",)), tmp_path, Dying)
    assert run.status == "finished"
    assert [t.number for t in run.trials if t.state == "failed"] == [1]
    assert "died" in run.trials[1].error
    assert len(run.complete()) == 5
    assert not (run.path / ".tune").exists()


def test_a_cluster_that_does_not_answer_is_one_line_at_once():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        check_answers(address)
    with pytest.raises(UserError, match=f"^execution.address: nothing answers at {address}; start Ray there"):
        check_answers(address)


def test_a_budget_that_is_used_up_is_said(make_campaign, tmp_path, capsys):
    run_free(make_campaign(2), tmp_path)
    search(make_campaign(2), runs=tmp_path, resume=True, make_worker=FreeWorker)
    assert "the budget of 2 trials and" in capsys.readouterr().err.replace("\n", " ")
