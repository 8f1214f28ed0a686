"""What a page knows of a run is worked out once, and random networks of a pool do not depend on its limits."""

from dataclasses import replace
from pathlib import Path

import pytest

import nas.reporting.surrogate as surrogate_module
import nas.samplers.judge as judge_module
from evaluators.cost import cost_metrics
from nas.campaign import Campaign
from nas.objective import Constraint
from nas.reporting.limits import limits_table
from nas.reporting.random_search import compare
from nas.reporting.surrogate import Surrogate
from nas.run import Run
from nas.samplers.base import Knowledge
from nas.samplers.candidates import BASE, MORE, Pool
from nas.trial import Trial
from search_spaces.vit import make_space

SHAPE = {"image_size": 8, "in_chans": 1, "classes": 10}
KNOWN = Knowledge(costs=lambda genotype: cost_metrics(genotype, **SHAPE))
LIMIT = Constraint.parse("params_m", "<= 0.2")


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool(make_space("vit_small", **SHAPE), replace(KNOWN, constraints=(LIMIT,)), 0)


@pytest.fixture
def run(pool: Pool) -> Run:
    """Fourteen networks that keep to the limit, more accurate with every parameter."""
    campaign = Campaign.model_validate(
        {"data": {"source": "digits"}, "objectives": ["accuracy", "macs_g"], "constraints": {"params_m": "<= 0.2"}}
    )
    trials = [
        Trial(number=i, kind="search", name="", state="complete", genotype=n.genotype, hash=str(i), code=n.code,
              values={**n.costs, "accuracy": 0.5 + n.costs["params_m"]}, finished=float(i))
        for i, n in enumerate(pool.base[:14])
    ]  # fmt: skip
    return Run(path=Path("toy"), campaign=campaign, environment={"data": SHAPE | {"validation": 288}},
               trials=tuple(trials))  # fmt: skip


def test_random_networks_are_those_of_a_pool_without_limits(pool: Pool) -> None:
    free = Pool(pool.space, KNOWN, 0)
    assert [n.genotype for n in pool.anywhere] == [n.genotype for n in [*free.base, *free.more]]
    assert 0.9 * (BASE + MORE) < len(pool.anywhere) <= BASE + MORE
    kept = [n.genotype for n in pool.anywhere if LIMIT.holds(n.costs["params_m"])]
    assert 0 < len(kept) < len(pool.anywhere)
    assert {n.genotype for n in [*pool.base, *pool.more]} >= set(kept)


def test_one_pool_serves_all_that_a_page_says(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, pools = [], []
    fit, pool_of = judge_module.fit, surrogate_module.pool_of
    monkeypatch.setattr(judge_module, "fit", lambda *a: fitted.append(a[2].name) or fit(*a))
    monkeypatch.setattr(surrogate_module, "pool_of", lambda run: pools.append(run) or pool_of(run))
    surrogate = Surrogate(run)
    assert not pools
    compare(run, surrogate)
    assert len(limits_table(run, surrogate)) == 1
    assert (fitted, len(pools)) == (["accuracy"] * 2, 1)
