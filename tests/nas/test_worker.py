"""One trial on real digits: what it measures, what it keeps, and how each kind of trouble ends."""

from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file

from nas.genotype import Atom, Genotype, Stage
from nas.together import measure_together
from nas.trial import Job, Outcome, Point
from nas.worker import Measured, Worker, accuracies_on_test
from search_spaces import build

NETWORK = Genotype(
    topology="plain",
    stem=Atom("patch", size=2),
    stages=(Stage(width=16, depth=1, head_dim=16, ffn=Atom("mlp", ratio=2)),),
    position=Atom("learned"),
)
QUICK = {"rounds": 20, "warmup": 2, "seconds": 0.5}


def job(genotype=NETWORK, **changes):
    facts = {"trial": 3, "kind": "search", "name": "trial 3", "genotype": genotype.to_json(), "hash": genotype.hash()}
    return Job(**(facts | {"seed": 1} | changes))


@pytest.fixture
def make_worker(make_campaign, tmp_path):
    def make(epochs=2, **sections):
        recipe = {"epochs": epochs, "warmup_epochs": 0.0, "augment": [], **sections.pop("training", {})}
        campaign = make_campaign(training=recipe, latency=QUICK, **sections)
        return Worker(campaign, tmp_path)

    return make


def test_a_trial_trains_and_keeps_its_weights(make_worker, tmp_path):
    steps = list(make_worker(12).steps(job()))
    outcome = steps[-1]
    assert [type(s) for s in steps] == [Point] * 12 + [Outcome]
    assert outcome.state == "complete"
    assert outcome.values["accuracy"] == outcome.curve[-1].accuracy > 0.3
    assert outcome.seconds["train"] > 0
    network = build(NETWORK, image_size=8, in_chans=1, classes=10)
    network.load_state_dict(load_file(tmp_path / outcome.checkpoint))


def test_the_same_job_gives_the_same_accuracy(make_worker):
    first, second = (list(make_worker().steps(job()))[-1] for _ in range(2))
    assert first.values == second.values


def test_latency_is_measured_before_training_and_taken_from_the_record_when_known(make_worker):
    worker = make_worker(1, objectives={"accuracy": "maximize", "latency_ms": "minimize"})
    measured, *_, outcome = list(worker.steps(job()))
    assert isinstance(measured, Measured)
    assert measured.low <= measured.ms <= measured.high
    assert outcome.values["latency_ms"] == measured.ms
    known = list(worker.steps(job(latency={"ms": 7.0, "low": 6.0, "high": 8.0})))
    assert not any(isinstance(s, Measured) for s in known)
    assert known[-1].values["latency_ms"] == 7.0


def test_a_broken_latency_limit_ends_a_trial_before_training_but_never_a_reference(make_worker):
    limits = {
        "objectives": {"accuracy": "maximize", "latency_ms": "minimize"},
        "constraints": {"latency_ms": "<= 1e-6"},
    }
    worker = make_worker(1, **limits)
    outcome = list(worker.steps(job()))[-1]
    assert (outcome.state, outcome.curve) == ("infeasible", ())
    assert "latency_ms <= 1e-06 is broken" in outcome.error
    assert list(worker.steps(job(kind="reference")))[-1].state == "complete"


def test_not_a_number_is_a_failed_trial_with_its_reason(make_worker):
    outcome = list(make_worker(3, training={"lr": 1e30}).steps(job()))[-1]
    assert outcome.state == "failed"
    assert "not a number" in outcome.error


def test_a_time_limit_is_a_failed_trial_with_its_reason(make_worker):
    outcome = list(make_worker(500, execution={"backend": "inline", "trial_minutes": 1e-4}).steps(job()))[-1]
    assert outcome.state == "failed"
    assert "time limit" in outcome.error


def test_a_network_that_cannot_be_built_is_a_failed_trial(make_worker):
    outcome = list(make_worker().steps(job(NETWORK.with_stage(0, a=Atom("no_such_mixer")))))[-1]
    assert outcome.state == "failed"
    assert "no_such_mixer" in outcome.error


def test_out_of_memory_halves_the_batch_and_is_noted(make_worker, monkeypatch):
    from search_spaces.model import Network

    forward = Network.forward

    def hungry(self, x):
        if len(x) > 32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, x)

    monkeypatch.setattr(Network, "forward", hungry)
    outcome = list(make_worker(1).steps(job()))[-1]
    assert outcome.state == "complete"
    assert "32 images at a time" in outcome.notes[0]


def test_the_front_is_measured_together_and_tested_from_its_weights(make_worker, make_campaign, tmp_path):
    outcome = list(make_worker().steps(job()))[-1]
    campaign = make_campaign(latency=QUICK)
    session = measure_together(campaign, {"3": NETWORK.to_json(), "4": NETWORK.with_stage(0, depth=4).to_json()})
    assert set(session.found) == {"3", "4"}
    assert all(0 < f.low <= f.ms <= f.high for f in session.found.values())
    accuracy = accuracies_on_test(campaign, tmp_path, {3: (NETWORK.to_json(), outcome.checkpoint)})
    assert accuracy[3] == pytest.approx(outcome.values["accuracy"], abs=0.15)


def test_an_outcome_survives_the_journal(make_worker):
    from nas.history import outcome_from_json

    outcome = list(make_worker(1).steps(job()))[-1]
    assert outcome_from_json(asdict(outcome)) == outcome
