"""Zero-cost scores in a search: what the gate has looked at, what it lets through, what the record and the page say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from free_worker import FreeWorker

from evaluators.data import load_dataset
from evaluators.zero_cost.base import SCORES
from evaluators.zero_cost.batches import mini_batches
from nas.errors import UserError
from nas.genotype import Atom, Genotype, Stage
from nas.history import replay
from nas.journal import read_journal
from nas.network_scores import NetworkScores, check_scores, judged_trials, networks_to_score
from nas.reporting.scores import scores_table, scores_words
from nas.session import prepare, search
from nas.trial import Trial
from search_spaces.zoo import ZOO

SHORT = {"name": "pareto", "startup": 18, "scores": ["width", "moody"]}
LOW = {"topology": "plain", "plain.depth": 2, "mixers": "softmax"}  # cheap to build


class Interrupted(FreeWorker):
    """Stops like Ctrl-C in its 22nd trial, when the gate has looked once."""

    def steps(self, job):
        if job.trial == 21:
            raise KeyboardInterrupt
        yield from super().steps(job)


def small(width=32, depth=1):
    stage = Stage(width=width, depth=depth, a=Atom("pooling", kernel=3))
    return Genotype(topology="plain", stem=Atom("patch", size=2), stages=(stage,))


def trials_of(count, seed=0, **scores):
    """Accuracy is size plus a quality of its own; score `told` knows the quality, `noise` nothing."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        width, quality = int(rng.integers(16, 256)), rng.normal()
        values = {"accuracy": width / 100 + quality, "params_m": width / 1e3, "macs_g": width**1.5 / 1e6}
        told = {"told": quality + 0.1 * rng.normal(), "noise": rng.normal()}
        found.append(
            Trial(
                number=number, kind="search", name=f"trial {number}", state="complete", genotype=small(width),
                hash=f"g{number}", code={}, values=values, scores=told, finished=float(number),
            )
        )  # fmt: skip
    return found


@pytest.fixture
def planted():
    """Two scores: `width`, which free trials follow from, and `moody`, which breaks on narrow networks."""
    SCORES.register("width")(lambda probe: float(width_of(probe.network)))
    SCORES.register("moody")(lambda probe: 1.0 if width_of(probe.network) > 64 else 1.0 / 0)
    yield
    del SCORES._entries["width"], SCORES._entries["moody"]


def width_of(network):
    return [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1].in_features


@pytest.fixture(scope="module")
def batches():
    return mini_batches(load_dataset("digits", image_size=None))


@pytest.mark.parametrize(("trials", "judged"), [(0, 0), (19, 0), (20, 20), (29, 20), (30, 30), (99, 90), (250, 200)])
def test_the_gate_looks_at_so_many_trials(trials, judged):
    assert len(judged_trials(trials_of(trials))) == judged


def test_what_was_judged_does_not_change_when_more_trials_end():
    trials = trials_of(39)
    late = [replace(t, finished=100.0 + t.number) if t.number % 7 == 0 else t for t in trials]
    ended = [t for t in late if t.finished <= 33]
    assert judged_trials(ended) == judged_trials(late[:33])[: len(judged_trials(ended))]


def test_trials_without_a_result_or_without_scores_are_not_judged():
    trials = trials_of(40)
    some = [replace(t, state="failed") if t.number % 2 else t for t in trials]
    assert len(judged_trials(some)) == 20
    assert judged_trials([replace(t, scores={}) for t in trials]) == []


def test_a_score_that_knows_more_than_size_passes_and_noise_does_not():
    scores = NetworkScores(["told", "noise"], [], classes=10, seed=0)
    assert scores.passed(trials_of(19)) == ()
    assert scores.passed(trials_of(40)) == ("told",)


def test_scores_are_the_same_every_time_and_leave_the_threads_alone(batches):
    threads = torch.get_num_threads()
    first, second = (NetworkScores(["naswot", "snip"], batches, 10, seed=3).of(small()) for _ in range(2))
    assert first == second
    assert set(first) == {"naswot", "snip"}
    assert torch.get_num_threads() == threads


def test_a_score_that_fails_is_absent_with_its_reason(batches, planted):
    scores = NetworkScores(["width", "moody"], batches, 10, seed=0)
    assert scores.of(small(32)) == {"width": 32.0}
    assert scores.notes(small(32)) == ("score moody: ZeroDivisionError: float division by zero",)
    assert scores.of(small(96)) == {"width": 96.0, "moody": 1.0}


def test_no_more_scores_are_remembered_than_there_is_room_for(batches, planted, monkeypatch):
    monkeypatch.setattr("nas.network_scores.KEPT", 2)
    scores = NetworkScores(["width", "moody"], batches, 10, seed=0)
    for width in (32, 96, 48, 32):
        assert scores.of(small(width))["width"] == width
        assert len(scores.notes(small(width))) == (width <= 64)
    assert len(scores._values) == len(scores._errors) <= 2


def test_candidates_cost_at_most_a_share_of_a_training():
    assert networks_to_score(["naswot"], images=20 * 1150) == 32
    assert networks_to_score(["naswot"] * 5, images=20 * 1150) == 14
    assert networks_to_score(["naswot"], images=300) == 0


@pytest.mark.parametrize(
    ("name", "words"), [("naswt", "did you mean 'naswot'"), ("macs", "a cost, which samplers know already")]
)
def test_a_wrong_score_is_said_in_one_line(name, words):
    with pytest.raises(UserError, match=f"sampler.scores: .*{words}"):
        check_scores([name])


def test_a_search_with_scores_resumes_as_if_it_had_not_stopped(make_campaign, tmp_path, planted, monkeypatch):
    """One of its scores passes the gate, the other fails on some networks, which is said and ends nothing."""
    monkeypatch.setattr("nas.network_scores.LONGEST", 6)
    campaign = make_campaign(23, sampler=SHORT, space={"fix": LOW}, training={"epochs": 2})
    whole = search(campaign, runs=tmp_path / "whole", quiet=True, make_worker=FreeWorker)
    search(campaign, runs=tmp_path / "cut", quiet=True, make_worker=Interrupted)
    resumed = search(campaign, runs=tmp_path / "cut", quiet=True, make_worker=FreeWorker, resume=True)
    assert [(t.hash, t.scores) for t in resumed.trials] == [(t.hash, t.scores) for t in whole.trials]
    assert [v for _, _, v in resumed.gates] == [v for _, _, v in whole.gates]
    assert [v["used"] for _, _, verdicts in whole.gates for v in verdicts] == [True, False]
    assert "width says more than size does from 20 trials on; it had a say in 3 networks." in scores_words(whole)
    assert "moody has no value for" in scores_words(whole)
    assert scores_words(whole) in (whole.path / "report" / "index.html").read_text()


def test_scores_that_nobody_looks_at_are_said_to_have_no_effect(make_campaign, tmp_path):
    campaign = make_campaign(2, sampler={"name": "random", "scores": ["naswot"]})
    run = search(campaign, runs=tmp_path, quiet=True, make_worker=FreeWorker)
    assert "sampler.scores has no effect: random does not use it" in run.notes
    assert not any(t.scores for t in run.trials)


def test_a_record_without_scores_reads_as_before(make_campaign, tmp_path):
    run = search(make_campaign(3), runs=tmp_path, quiet=True, make_worker=FreeWorker)
    events = read_journal(run.path / "journal.jsonl")
    assert not any("scores" in e for e in events)
    assert replay(events).gates == []
    assert scores_table(run).empty


def verdict(score, used, reason="nothing, or less, beyond size"):
    interval = (0.1, 0.4) if used else (-0.1, 0.2)
    return {"score": score, "used": used, "partial": 0.25, "interval": interval, "reason": reason}


def test_the_page_says_what_passed_from_when_on_and_what_it_had_a_say_in(make_campaign, tmp_path):
    run = search(make_campaign(3), runs=tmp_path, quiet=True, make_worker=FreeWorker)
    settings = run.campaign.sampler.model_copy(update={"scores": ("naswot", "snip")})
    trials = tuple(
        replace(t, started=float(t.number), scores={"naswot": 1.0} if t.number else {"naswot": 1.0, "snip": 2.0})
        for t in run.trials
    )
    looks = [(20, 0.5, [verdict("naswot", True), verdict("snip", False)])]
    looks += [(30, 1.5, [verdict("naswot", False), verdict("snip", False)])]
    run = replace(
        run, campaign=run.campaign.model_copy(update={"sampler": settings}), trials=trials, gates=tuple(looks)
    )
    words = scores_words(run)
    assert "naswot says more than size does from 20 trials on, and no more after 30" in words
    assert "it had a say in 1 network." in words
    assert "snip was never used: after 30 trials, nothing, or less, beyond size." in words
    assert "snip has no value for 2 of 3 networks" in words


def test_published_networks_that_are_references_are_not_candidates(make_campaign):
    with_none, with_two = (prepare(make_campaign(references=names)) for names in ([], ["deit_mini", "swin_mini"]))
    found = [{s.space.decode(c) for c in s.proposer.sampler.knowledge.published()} for s in (with_none, with_two)]
    assert found[0] - found[1] == {with_two.space.canonical(ZOO[name].build(8)) for name in ("deit_mini", "swin_mini")}
    assert len(found[1]) >= 3
