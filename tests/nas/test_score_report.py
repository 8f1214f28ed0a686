"""`nas analyze` as a user meets it: the gate's table on a campaign's own trials, kept, and one line for a mistake."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from free_worker import formula

from nas import score_report
from nas.campaign import Campaign
from nas.journal import Journal
from nas.trial import Outcome
from search_spaces.vit import make_space


def write_run(folder, campaign, trials):
    """The record of a campaign whose trials cost nothing: small plain networks, accuracy by a formula."""
    fixed = {"topology": "plain", "plain.depth": 2, "mixers": "pooling"}
    space = make_space("vit_small", image_size=8, in_chans=1, fix=fixed)
    rng = np.random.default_rng(0)
    with Journal(folder / "journal.jsonl") as journal:
        journal.append("session", campaign=campaign.model_dump(mode="json"), environment={})
        for number in range(trials):
            genotype = space.decode(space.sample(rng))
            named = {"trial": number, "hash": genotype.hash(), "kind": "search", "name": f"trial {number}"}
            journal.append("started", **named, genotype=genotype.to_json(), code={}, costs={})
            values = {"accuracy": formula(genotype), "macs_g": 1.0}
            journal.append("finished", trial=number, outcome=asdict(Outcome(state="complete", values=values)))
    return folder


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Written once, since every line of a journal is synced to the disk."""
    campaign = Campaign.model_validate({"data": {"source": "digits"}, "execution": {"backend": "inline"}})
    return write_run(tmp_path_factory.mktemp("record"), campaign, 24)


@pytest.fixture
def run_dir(record, tmp_path):
    shutil.copy(record / "journal.jsonl", tmp_path)
    return tmp_path


def test_the_table_has_a_line_per_score(nas, run_dir):
    status, out, err = nas("analyze", run_dir, "--scores", "params,synflow")
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0] == f"{run_dir}: 24 finished trials"
    assert lines[2].split()[:4] == ["score", "tau", "partial", "interval"]
    assert [line.split()[0] for line in lines[3:5]] == ["params", "synflow"]
    assert "24 of 24 networks" in err


def test_json_says_what_was_used_and_why(nas, run_dir):
    report = json.loads(nas("analyze", run_dir, "--scores", "params, macs", "--json")[1])
    assert report["trials"] == 24
    assert [row["score"] for row in report["scores"]] == ["params", "macs"]
    for row in report["scores"]:
        assert row["trials"] == 24
        assert row["used"] == (row["interval"][0] > 0 and row["rest_interval"][0] > 0)
        assert row["reason"]


def test_scores_once_computed_are_kept(nas, run_dir, monkeypatch):
    first = nas("analyze", run_dir, "--scores", "synflow", "--json")[1]
    monkeypatch.setattr(score_report, "score_genotypes", None)
    assert nas("analyze", run_dir, "--scores", "synflow", "--json")[1] == first


def test_other_scores_join_those_that_are_kept(nas, run_dir):
    nas("analyze", run_dir, "--scores", "synflow")
    nas("analyze", run_dir, "--scores", "log_synflow")
    networks = json.loads((run_dir / "scores.json").read_text())["networks"].values()
    assert all({"params", "macs", "depth", "synflow", "log_synflow"} <= set(n["values"]) for n in networks)


def test_scores_of_other_data_or_a_broken_file_are_not_believed(nas, run_dir):
    path, before = run_dir / "scores.json", nas("analyze", run_dir, "--scores", "params", "--json")[1]
    kept = json.loads(path.read_text())
    kept["stamp"]["seed"] += 1
    for text in (json.dumps(kept), "{", "[]"):
        path.write_text(text)
        after = nas("analyze", run_dir, "--scores", "params", "--json")[1]
        assert json.loads(after)["scores"][0]["partial"] == json.loads(before)["scores"][0]["partial"]
        assert json.loads(path.read_text())["stamp"]["seed"] == 0


def test_a_score_that_fails_is_counted_with_its_reason(nas, run_dir, monkeypatch):
    def fail(probe):
        raise ZeroDivisionError("by nought")

    monkeypatch.setitem(score_report.SCORES._entries, "broken", fail)
    status, out, _ = nas("analyze", run_dir, "--scores", "broken")
    assert status == 0
    assert "only 0 trials have it; at least 20 are needed; absent for 24: ZeroDivisionError: by nought" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scores", "sinflow"], "unknown score 'sinflow'; did you mean 'synflow'?"),
        (["--limit", "5"], "--limit leaves 5 finished trials; at least 20 are needed"),
    ],
)
def test_a_mistake_is_one_line(nas, run_dir, words, message):
    status, out, err = nas("analyze", run_dir, *words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert message in err


def test_what_is_no_run_folder_is_said(nas, tmp_path):
    status, _, err = nas("analyze", tmp_path)
    assert status == 2
    assert "not a run folder" in err


def test_a_run_folder_misspelt_names_the_nearest(nas, run_dir):
    status, out, err = nas("analyze", f"{run_dir}s")
    assert (status, out) == (2, "")
    assert err == f"nas: {run_dir}s: not a run folder (no journal.jsonl); did you mean {run_dir}?\n"


def test_a_score_that_fails_on_some_networks_is_judged_on_the_others(nas, run_dir, monkeypatch):
    seen = []

    def fail_on_three(probe):
        seen.append(probe)
        if len(seen) <= 3:
            raise NotImplementedError("no such operator")
        return float(len(seen))

    monkeypatch.setitem(score_report.SCORES._entries, "brittle", fail_on_three)
    status, out, err = nas("analyze", run_dir, "--scores", "brittle,params", "--json")
    params, brittle = json.loads(out)["scores"]
    assert status == 0, err
    assert (brittle["trials"], brittle["absent"]) == (21, 3)
    assert brittle["first_error"] == "NotImplementedError: no such operator"
    assert (params["trials"], params["absent"]) == (24, 0)


def test_too_few_trials_are_said(nas, run_dir):
    journal = run_dir / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:8]))  # two lines, and two for each trial
    status, _, err = nas("analyze", run_dir)
    assert status == 2
    assert "the campaign has 3 finished trials; at least 20 are needed" in err
