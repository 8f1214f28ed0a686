"""Real trainings on digits that stop at rungs: they end as if nothing had interrupted them."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from nas.genotype import Atom, Genotype, Stage
from nas.trial import Job, Point
from nas.worker import Worker

NETWORK = Genotype(
    topology="plain", stem=Atom("patch", size=2), position=Atom("learned"),
    stages=(Stage(width=16, depth=1, head_dim=16, ffn=Atom("mlp", ratio=2)),),
)  # fmt: skip
JOB = Job(trial=3, kind="search", name="trial 3", genotype=NETWORK.to_json(), hash=NETWORK.hash(), seed=1)


@pytest.fixture
def make_worker(make_campaign, tmp_path, monkeypatch):
    monkeypatch.setattr("nas.worker.lease_path", lambda device: tmp_path / "lease")  # not the one of other campaigns

    def make(**recipe):
        training = {"epochs": 4, "warmup_epochs": 1.0, "augment": ["crop"], **recipe}
        return Worker(make_campaign(training=training, data={"source": "digits", "limit": 300}), tmp_path)

    return make


@pytest.mark.parametrize("recipe", [{}, {"ema": 0.9, "mixup": 0.2, "drop_path": 0.1}], ids=["plain", "with averages"])
def test_a_training_paused_twice_ends_like_one_that_was_not(make_worker, tmp_path, recipe):
    whole = list(make_worker(**recipe).steps(JOB))[-1]
    expected = load_file(tmp_path / whole.checkpoint)
    points, state = [], None
    for until in (1, 3, None):
        *steps, outcome = make_worker(**recipe).steps(replace(JOB, until=until, training_state=state))
        points, state = points + steps, outcome.checkpoint
        assert outcome.state == ("paused" if until else "complete")
        assert "accuracy" not in outcome.values or until is None
    assert [p.accuracy for p in points] == [p.accuracy for p in whole.curve]
    assert outcome.values["accuracy"] == whole.values["accuracy"]
    found = load_file(tmp_path / state)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_time_counts_on_from_the_pause(make_worker):
    first = list(make_worker().steps(replace(JOB, until=2)))[-1]
    *points, _ = make_worker().steps(replace(JOB, training_state=first.checkpoint))
    assert all(isinstance(p, Point) for p in points)
    assert [p.epoch for p in points] == [3, 4]
    assert points[0].seconds > first.curve[-1].seconds


def test_a_damaged_state_is_a_failed_trial_with_its_reason(make_worker, tmp_path):
    first = list(make_worker().steps(replace(JOB, until=2)))[-1]
    (tmp_path / first.checkpoint).write_bytes(b"torn")
    outcome = list(make_worker().steps(replace(JOB, training_state=first.checkpoint)))[-1]
    assert outcome.state == "failed"
    assert "damaged" in outcome.error
