"""Energy as an objective and as what trials take: counted where something counts, else from time and power."""

import pytest
import torch
from torch import nn

from evaluators.energy import PowerMeter
from nas.genotype import Atom, Genotype, Stage
from nas.trial import Job
from nas.trial_energy import TrialEnergy, energy_of
from nas.worker import Measured, Worker

NETWORK = Genotype(
    topology="plain", stem=Atom("patch", size=2),
    stages=(Stage(width=16, depth=1, head_dim=16, ffn=Atom("mlp", ratio=2)),), position=Atom("learned"),
)  # fmt: skip
QUICK = {"rounds": 10, "warmup": 1, "seconds": 0.3}


class Counter:
    """Counts seven joules more at each look."""

    label, method = "measured", "a counter"

    def __init__(self):
        self.total = 0.0

    def joules(self):
        self.total += 7.0
        return self.total


@pytest.fixture
def make_worker(make_campaign, tmp_path):
    def make(**latency):
        objectives = {"accuracy": "maximize", "energy_mj": "minimize"}
        recipe = {"epochs": 1, "warmup_epochs": 0.0, "augment": []}
        return Worker(make_campaign(objectives=objectives, training=recipe, latency=QUICK | latency), tmp_path)

    return make


def outcome_of(worker):
    job = Job(trial=0, kind="search", name="trial 0", genotype=NETWORK.to_json(), hash=NETWORK.hash(), seed=0)
    return list(worker.steps(job))


def test_energy_without_a_counter_is_latency_times_power(make_worker, monkeypatch):
    monkeypatch.setattr("nas.trial_energy.make_meter", lambda *_, watts=None, **__: PowerMeter(watts or 8.0))
    measured, *_, outcome = outcome_of(make_worker(watts=30.0))
    assert outcome.values["energy_mj"] == pytest.approx(30.0 * measured.ms)
    assert outcome.intervals["energy_mj"] == pytest.approx((30.0 * measured.low, 30.0 * measured.high))
    assert "latency_ms" not in outcome.values  # nobody asked for it
    assert outcome.joules is None


def test_counted_energy_has_no_interval_and_trials_share_the_counter(make_worker, monkeypatch):
    monkeypatch.setattr("nas.trial_energy.make_meter", lambda *_, **__: Counter())
    measured, *_, outcome = outcome_of(make_worker())
    assert measured.counted
    assert outcome.values["energy_mj"] == measured.mj
    assert "energy_mj" not in outcome.intervals
    assert outcome.joules > 0


def test_workers_of_one_device_share_what_it_counts(make_campaign, monkeypatch):
    monkeypatch.setattr("nas.trial_energy.make_meter", lambda *_, **__: Counter())
    execution = {"backend": "inline", "workers": 2}
    assert TrialEnergy("cpu", make_campaign(execution=execution)).joules() == 3.5
    execution = {"backend": "inline", "workers": 9, "gpus": 0.25}
    assert TrialEnergy("cuda:0", make_campaign(execution=execution)).joules() == 7 / 4


def test_measuring_energy_leaves_the_mode_of_a_network(make_campaign, monkeypatch):
    monkeypatch.setattr("nas.trial_energy.make_meter", lambda *_, **__: Counter())
    network = nn.Linear(4, 2).train()
    mj, counted = energy_of(network, torch.zeros(1, 4), 1.0, make_campaign())
    assert network.training
    assert counted
    assert mj > 0


def test_costs_of_a_measurement_share_the_latencys_interval_unless_counted():
    found = Measured(ms=2.0, low=1.8, high=2.4, mj=20.0)
    assert found.costs()["energy_mj"] == pytest.approx((20.0, 18.0, 24.0))
    assert Measured(ms=2.0, low=1.8, high=2.4, mj=20.0, counted=True).costs()["energy_mj"] == (20.0, 20.0, 20.0)
    assert list(Measured(ms=2.0, low=1.8, high=2.4).costs()) == ["latency_ms"]
