"""The contract of every score on small networks of the space: a number, repeatable, and the network left as it was."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import evaluators.zero_cost  # noqa: F401  registers the scores
from evaluators.data import load_dataset
from evaluators.zero_cost.base import SCORES, SIZES, subject_of
from evaluators.zero_cost.batches import mini_batches
from evaluators.zero_cost.compute import compute_scores
from evaluators.zero_cost.shared import Shared
from nas.errors import UserError
from nas.genotype import Atom, Genotype, Stage
from search_spaces.model import build

SIZE = {"image_size": 8, "in_chans": 1, "classes": 10}


def plain(mixer="softmax", **changes):
    stage = Stage(**({"width": 16, "depth": 2, "head_dim": 8, "a": Atom(mixer), "ffn": Atom("mlp", ratio=2)} | changes))
    return Genotype(topology="plain", stem=Atom("patch", size=2), position=Atom("learned"), stages=(stage,))


GENOTYPES = {
    "softmax": plain(),
    "batch norms": plain("mbconv", norm=Atom("batch")),
    "noisy experts": plain("shifted_window", ffn=Atom("mixture", ratio=2)),
}


@pytest.fixture(scope="module")
def digits():
    return mini_batches(load_dataset("digits", image_size=8, limit=200), size=8)


def state(network):
    """All that a score might leave behind."""
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in network.modules()]
    tensors = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [m.training for m in network.modules()]
    grads = [p.grad for p in network.parameters()]
    return tensors, modes, grads, hooks, [p.requires_grad for p in network.parameters()]


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("kind", GENOTYPES)
def test_every_score_is_a_number_that_comes_back(kind, name, digits):
    subject = subject_of(GENOTYPES[kind], **SIZE)
    first, second = (compute_scores(subject, digits, [name], seed=1) for _ in range(2))
    assert first.errors == {}
    assert np.isfinite(first.values[name])
    assert first.values == second.values


def test_there_are_scores_beside_the_sizes():
    assert len(SCORES) >= 14
    assert set(SIZES) < set(SCORES)


@pytest.mark.parametrize("name", SCORES)
def test_no_score_changes_the_network(name, digits, subject_for):
    network = build(GENOTYPES["batch norms"], **SIZE).eval()
    network.head.train()
    before, random = state(network), torch.get_rng_state()
    compute_scores(subject_for(network), digits, [name])
    after = state(network)
    assert all(torch.equal(value, after[0][key]) for key, value in before[0].items())
    assert before[1:] == after[1:]
    assert torch.equal(random, torch.get_rng_state())


def test_scores_taken_together_are_the_scores_taken_alone(digits):
    subject = subject_of(GENOTYPES["batch norms"], **SIZE)
    together = compute_scores(subject, digits).values
    alone = {name: compute_scores(subject, digits, [name]).values[name] for name in SCORES}
    assert together == pytest.approx(alone, rel=1e-6)


class Broken(nn.Module):
    """A network that does not run."""

    def forward(self, x):
        raise RuntimeError("the kernel is not\nthere")


def test_a_score_that_fails_is_absent_with_its_reason(digits, subject_for):
    found = compute_scores(subject_for(Broken(), params_m=2.0), digits)
    assert found.values == {"params": 2.0, "macs": 1.0, "depth": 1.0}
    assert found.errors["naswot"] == "RuntimeError: the kernel is not"
    assert found.errors["zen"] == "the network has no method features"
    assert found.values.keys() | found.errors.keys() == set(SCORES)
    assert found.seconds.keys() == found.values.keys()


def test_what_is_not_finite_is_absent(digits, subject_for):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.constant_(network[1].weight, float("inf"))
    assert compute_scores(subject_for(network), digits, ["synflow"]).errors == {"synflow": "is inf"}


def test_zico_says_that_one_mini_batch_is_too_few(digits):
    found = compute_scores(subject_of(plain(), **SIZE), digits[:1], ["zico", "snip"])
    assert found.errors == {"zico": "needs at least two mini-batches"}
    assert "snip" in found.values


def test_an_unknown_score_is_named_with_the_nearest(digits):
    with pytest.raises(UserError, match="did you mean 'synflow'"):
        compute_scores(subject_of(plain(), **SIZE), digits, ["sinflow"])


def test_sizes_build_nothing(digits):
    def make(seed):
        raise AssertionError("built")

    found = compute_scores(replace(subject_of(plain(), **SIZE), make=make), digits, SIZES)
    network = build(plain(), **SIZE)
    assert found.errors == {}
    assert found.values["params"] == sum(p.numel() for p in network.parameters()) / 1e6
    assert found.values["depth"] == 2


def test_what_is_shared_counts_for_each_who_needs_it(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("evaluators.zero_cost.shared.time.process_time", lambda: float(next(ticks)))
    shared = Shared()
    for name in ("first", "second"):
        with shared.timing(name):
            shared.get("outer", lambda: shared.get("inner", lambda: 1) + 1)
    assert shared.seconds("inner") == 1
    assert shared.seconds("outer") == 3  # of which the inner takes one
    assert shared.seconds("first") == 5
    assert shared.seconds("second") == 4


def test_mini_batches_are_normalised_and_do_not_overlap():
    data = load_dataset("digits", image_size=8, limit=200)
    batches = mini_batches(data, count=3, size=20, seed=5)
    images = torch.cat([x for x, _ in batches])
    assert [len(y) for _, y in batches] == [20, 20, 20]
    assert abs(images.mean()) < 0.1
    assert len(torch.unique(images.flatten(1), dim=0)) == 60
    assert torch.equal(images, torch.cat([x for x, _ in mini_batches(data, count=3, size=20, seed=5)]))
