"""What a page says of devices: the same members on each, predictions against measurements, energy of the campaign."""

import json
import re
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest

from evaluators.energy import co2e_g
from nas.campaign import Campaign
from nas.exporting.select import select
from nas.genotype import Atom, Genotype, Stage
from nas.reporting import write_report
from nas.reporting.devices import good_words, standing_table
from nas.reporting.figures import figures
from nas.reporting.page import page, spent
from nas.reporting.predictions import predictions_table, predictions_words
from nas.reporting.spending import energy_joules, energy_method
from nas.reporting.tables import front_table, trials_table
from nas.reporting.theme import name_of, noun_of, number, percent
from nas.run import Run
from nas.trial import Trial

HERE, PHONE = "latency_ms", "latency_ms@phone.v2"
NETWORK = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=16, depth=1),))


def trial(n: int, accuracy: float, here: float, phone: float, spread: float = 0.1, **more: Any) -> Trial:
    values = {"accuracy": accuracy, HERE: here, PHONE: phone}
    ends = {name: (values[name] / (1 + spread), values[name] * (1 + spread)) for name in (HERE, PHONE)}
    basics: dict[str, Any] = {
        "number": n, "kind": "search", "name": f"trial {n}", "state": "complete", "genotype": NETWORK,
        "hash": f"{n:012x}", "code": {}, "values": values, "intervals": ends, "started": 100.0 * n,
        "finished": 100.0 * n + 60, "seconds": {"train": 50.0, "measure": 6.0, "wait": 30.0, "setup": 4.0},
    }  # fmt: skip
    return Trial(**(basics | more))


def run_of(path: Path, *trials: Trial, **more: Any) -> Run:
    profile = {"source": "profile", "file": "p.json"}
    content = {
        "name": "toy", "data": {"source": "digits"}, "objectives": ["accuracy", HERE, PHONE],
        "sources": {HERE: profile, PHONE: profile},
    }  # fmt: skip
    campaign = Campaign.model_validate(content)
    return Run(path=path, campaign=campaign, environment=more.pop("environment", {}), trials=trials, **more)


@pytest.fixture
def four(tmp_path: Path) -> Run:
    """0 and 1 lead on both devices; 2 leads here alone, 3 on the phone, where 2 is as good as 1 within its interval."""
    return run_of(
        tmp_path, trial(0, 0.7, 1.0, 10.0), trial(1, 0.9, 3.0, 30.0), trial(2, 0.8, 2.0, 31.0),
        trial(3, 0.85, 5.0, 15.0),
    )  # fmt: skip


def test_a_member_stands_on_each_front_by_brute_force(four: Run) -> None:
    table = standing_table(four, (HERE, PHONE)).set_index("trial")
    for name in (HERE, PHONE):
        for t in four.complete():
            rivals = [o.values[name] for o in four.complete() if o.values["accuracy"] >= t.values["accuracy"]]
            assert table.loc[t.number, f"{name} beaten by"] == pytest.approx(1 - min(rivals) / t.values[name])
            assert (table.loc[t.number, f"{name} place"] == "front") == (min(rivals) == t.values[name])


def test_good_on_all_are_those_on_or_within_the_interval_of_every_front(tmp_path: Path) -> None:
    run = run_of(tmp_path, trial(0, 0.7, 1.0, 10.0), trial(1, 0.9, 3.0, 9.0), trial(2, 0.8, 2.0, 31.0))
    table = standing_table(run, (HERE, PHONE))
    assert dict(zip(table["trial"], table[f"{PHONE} place"], strict=True)) == {0: "within", 1: "front", 2: "beaten"}
    words = good_words(table, (HERE, PHONE))
    assert words.startswith("Trials 0, 1 are on or within the interval of every device's front")
    assert good_words(table.iloc[:0], (HERE, PHONE)).startswith("No member")


def test_the_page_draws_each_device_with_the_same_members(four: Run) -> None:
    drawn = {f.name: f for f in figures(four) if f.section in ("front", "devices")}
    assert list(drawn) == ["front", "device-latency_ms", "device-latency_ms-phone.v2"]
    members = []
    for figure in drawn.values():
        assert figure.spec is not None
        assert alt.Chart.from_dict(figure.spec, validate=True)
        rows = figure.spec["datasets"][figure.spec["data"]["name"]]
        members.append({r["trial"] for r in rows if r["role"] == "front"})
    assert members == [{0, 1, 2, 3}] * 3
    assert "Latency on phone.v2 is predicted by a profile" in drawn["device-latency_ms-phone.v2"].reading


def test_a_device_that_is_only_limited_is_drawn_too(four: Run) -> None:
    content = four.campaign.model_dump() | {"objectives": ["accuracy", HERE], "constraints": {PHONE: "<= 50"}}
    run = run_of(four.path, *four.trials)
    object.__setattr__(run, "campaign", Campaign.model_validate(content))
    assert [f.name for f in figures(run) if f.section == "devices"] == [
        "device-latency_ms", "device-latency_ms-phone.v2"
    ]  # fmt: skip


def test_one_device_has_no_section_of_its_own(four: Run) -> None:
    content = four.campaign.model_dump() | {"objectives": ["accuracy", HERE], "sources": {}}
    run = run_of(four.path, *four.trials)
    object.__setattr__(run, "campaign", Campaign.model_validate(content))
    assert 'id="devices"' not in page(run, figures(run))
    assert 'id="predictions"' not in page(run, figures(run))


def test_charts_and_tables_of_devices_are_written(four: Run) -> None:
    folder = write_report(four).parent
    assert (folder / "device-latency_ms-phone.v2.png").stat().st_size > 10_000
    assert list(pd.read_csv(folder / "devices-latency_ms.csv")["trial"]) == [0, 2, 1, 3]
    text = (folder / "index.html").read_text()
    assert "Good on all devices" in text
    assert re.search(r"<th class=\"n\">Latency, phone.v2</th>", text)


def test_the_front_says_who_may_be_dominated(four: Run) -> None:
    run = run_of(four.path, trial(1, 0.9, 3.0, 30.0), trial(2, 0.8, 2.9, 31.0))
    assert front_table(run).set_index("trial")["p_dominated"].to_dict() == run.p_dominated()
    assert 0.1 < run.p_dominated()[2] < 0.5
    assert "Dominated: how probable it is" in page(run, figures(run))
    exact = run_of(four.path, *(trial(i, 0.5 + i / 10, 1.0 + i, 1.0 + i, intervals={}) for i in range(3)))
    assert "p_dominated" not in front_table(exact).columns
    assert exact.p_dominated() == {}


def again(n: int, predicted: float, measured: float) -> Trial:
    return trial(
        n, 0.5 + n / 100, measured, 1.0, predicted={HERE: (predicted, 0.9 * predicted, 1.2 * predicted)},
        measured_again=frozenset({HERE}),
    )  # fmt: skip


def test_predictions_are_counted_against_measurements(tmp_path: Path) -> None:
    pairs = [(1.0, 1.05), (2.0, 2.3), (3.0, 2.5), (4.0, 4.0)]
    run = run_of(tmp_path, *(again(n, p, m) for n, (p, m) in enumerate(pairs)), trial(9, 0.4, 1.0, 1.0))
    table = predictions_table(run, HERE)
    assert list(table["trial"]) == [0, 1, 2, 3]
    error = 100 * np.sqrt(np.mean([(p / m - 1) ** 2 for p, m in pairs]))
    words = predictions_words(table)
    assert "2 of 4 lie within ±10 %" in words
    assert "3 of 4 inside the predicted 90 % interval" in words
    assert f"root mean square error {error:.1f} %" in words
    spec = next(f.spec for f in figures(run) if f.name == "predicted-latency_ms")
    assert spec is not None
    assert alt.Chart.from_dict(spec, validate=True)


def test_energy_without_a_counter_is_worker_time_without_waiting_times_power(tmp_path: Path) -> None:
    power = {"label": "estimated", "method": "time x 8 W", "watts": 8.0}
    run = run_of(tmp_path, trial(0, 0.7, 1.0, 1.0), trial(1, 0.8, 2.0, 2.0), environment={"power": power})
    assert energy_joules(run) == 2 * 60 * 8
    assert dict(spent(run))["energy of the trials"] == f"{960 / 3600:.3g} Wh"
    assert dict(spent(run))["CO₂e"] == f"{co2e_g(960):.3g} g"
    assert energy_method(run).startswith("Energy is estimated: worker time without waiting × 8 W.")


def test_counted_energy_is_taken_as_counted(tmp_path: Path) -> None:
    power = {"label": "measured", "method": "RAPL", "watts": 8.0}
    run = run_of(
        tmp_path, trial(0, 0.7, 1.0, 1.0, joules=5e6), trial(1, 0.8, 2.0, 2.0), environment={"power": power}
    )  # fmt: skip
    assert energy_joules(run) == 5e6 + 60 * 8
    assert "measured for 1 trials (RAPL; shared equally between workers), and estimated from 8 W" in energy_method(run)
    assert dict(spent(run))["energy of the trials"] == "1.39 kWh"
    assert trials_table(run)["joules"].tolist()[0] == 5e6


def test_a_record_that_says_nothing_of_power_has_no_energy(four: Run) -> None:
    assert energy_joules(four) is None
    assert energy_method(four) == ""
    assert "energy of the trials" not in dict(spent(four))


def test_names_numbers_and_choices_know_the_device(four: Run) -> None:
    assert (name_of(PHONE), noun_of(PHONE)) == ("Latency, phone.v2", "latency on phone.v2")
    assert number("energy_mj@phone", 0.05) == "50.0 µJ"
    assert [percent(p) for p in (None, 0.0, 0.004, 0.3, 0.999)] == ["", "0 %", "below 1 %", "30 %", "above 99 %"]
    assert [t.number for t in select(four, "latency_ms@phone.v2<=12")] == [0]
    assert json.loads(trials_table(four).to_json(orient="records"))[0][PHONE] == 10.0
