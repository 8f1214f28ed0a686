"""The replay of recorded curves: against training in full, and against numbers worked out by hand."""

import fidelity
import numpy as np
import pandas as pd
import pytest
import rank_correlation
from fidelity_tables import from_run, read_table, synthetic, whole_trials

from nas.errors import UserError
from nas.fidelity import make_rule
from nas.objective import Objective

OBJECTIVES = (Objective(name="accuracy", direction="maximize"), Objective(name="macs_g", direction="minimize"))


@pytest.fixture(scope="module")
def table():
    return synthetic(60)


def rule(name, **settings):
    return make_rule(name, OBJECTIVES, 20, **settings)


def test_without_a_rule_the_trials_end_one_after_another(table):
    whole = whole_trials(table, ["macs_g"])
    found = fidelity.run_rule(rule("none"), fidelity.in_order(whole), budget=100)
    assert [(spent, t.number) for spent, t in found.finished] == [(20 * (i + 1), i) for i in range(5)]
    assert found.cut == fidelity.Cut(finished=5, trials=0, expected=0, true=0)


def test_halving_spends_what_its_trials_were_trained(table):
    whole = whole_trials(table, ["macs_g"])
    found = fidelity.run_rule(rule("halving", keep=0.4), fidelity.in_order(whole), budget=10_000)
    assert 0 < found.cut.finished < 60
    assert found.finished[found.cut.finished - 1][0] <= 60 * 5 + 24 * 5 + 0.4 * 24 * 10
    assert all(t == whole[t.number] for _, t in found.finished)


def test_what_waits_is_finished_when_there_is_nothing_new(table):
    found = fidelity.run_rule(rule("halving"), fidelity.in_order(whole_trials(table, ["macs_g"])), budget=10_000)
    assert sorted(t.number for _, t in found.finished) == list(range(60))
    assert found.finished[-1][0] == 60 * 20


def test_rank_correlations_are_one_for_curves_that_never_cross():
    rows = [
        {"trial": n, "epoch": e, "accuracy": 0.01 * n * e, "macs_g": 1.0 + n, "seed": s}
        for n in range(8) for e in range(1, 21) for s in (0, 1)
    ]  # fmt: skip
    found = rank_correlation.rank_correlations(pd.DataFrame(rows))
    assert found["ceiling"]["other seed"] == pytest.approx((1, 1, 1))
    assert all(value == pytest.approx((1, 1, 1)) for taus in found.values() for value in taus.values())


def test_every_rule_is_compared_over_the_same_orders(table):
    found = fidelity.compare(table, ["macs_g"], 2, {"keep": 0.5})
    assert set(found) == {"none", "halving", "extrapolation"}
    assert found["none"]["volume"]["100%"][0] == pytest.approx(1)
    assert all(np.diff([m for m, _ in entry["volume"].values()]).min() >= 0 for entry in found.values())
    assert found["none"]["times"]["90%"] == 1


def test_a_table_without_a_cost_is_refused(table, tmp_path):
    table.drop(columns="macs_g").to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match="and a cost, found trial, epoch, accuracy"):
        read_table(tmp_path / "t.csv")


def test_a_run_folder_gives_its_curves(table, tmp_path):
    from nas.journal import Journal

    trial = whole_trials(table, ["macs_g"])[3]
    facts = {"kind": "search", "name": "trial 3", "code": {}, "hash": "3", "costs": {"macs_g": trial.values["macs_g"]}}
    outcome = {
        "state": "complete", "values": {"accuracy": trial.values["accuracy"]}, "intervals": {}, "seconds": {},
        "notes": [], "error": None, "checkpoint": None, "curve": trial.curve,
    }  # fmt: skip
    with Journal(tmp_path / "journal.jsonl") as journal:
        asked = {"accuracy": "maximize", "macs_g": "minimize"}
        journal.append("session", campaign={"training": {"epochs": 20}, "objectives": asked}, environment={})
        journal.append("started", trial=3, genotype=trial.genotype.to_json(), **facts)
        journal.append("finished", trial=3, outcome=outcome)
    found = from_run(tmp_path)
    assert found["accuracy"].tolist() == [p.accuracy for p in trial.curve]
    assert set(found["macs_g"]) == {trial.values["macs_g"]}
