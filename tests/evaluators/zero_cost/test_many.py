"""Many genotypes at once: in their order, the same numbers wherever they are computed."""

import pytest
import torch

from evaluators.zero_cost.base import subject_of
from evaluators.zero_cost.compute import compute_scores
from evaluators.zero_cost.many import score_genotypes
from nas.genotype import Atom, Genotype, Stage

NAMES = ["params", "synflow", "naswot"]


@pytest.fixture
def batches():
    return [(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(i)), torch.arange(4)) for i in range(2)]


def genotypes(count):
    stages = [(Stage(width=16, depth=depth, head_dim=8),) for depth in range(1, count + 1)]
    return [Genotype(topology="plain", stem=Atom("patch", size=2), position=Atom("learned"), stages=s) for s in stages]


def test_results_come_in_order_and_equal_single_ones(batches):
    found = list(score_genotypes(genotypes(3), batches, NAMES, classes=4, seed=2))
    alone = [compute_scores(subject_of(g, image_size=8, classes=4), batches, NAMES, seed=2) for g in genotypes(3)]
    assert [f.values for f in found] == [a.values for a in alone]
    assert found[0].values["params"] < found[1].values["params"] < found[2].values["params"]


def test_an_architecture_that_cannot_be_built_leaves_the_others_alone(batches):
    broken = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=16, depth=1, a=Atom("warp")),))
    good, bad = score_genotypes([*genotypes(1), broken], batches, NAMES, classes=4)
    assert good.errors == {}
    assert bad.values == {}
    assert all("unknown mixer 'warp'" in bad.errors[name] for name in NAMES)


@pytest.mark.slow
def test_ray_tasks_give_what_this_process_gives(batches):
    here = list(score_genotypes(genotypes(10), batches, NAMES, classes=4))
    there = list(score_genotypes(genotypes(10), batches, NAMES, classes=4, workers=1))
    assert [h.values for h in here] == [t.values for t in there]
