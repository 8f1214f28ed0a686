"""`nas measure` as a user meets it."""

import json
from dataclasses import replace
from functools import partial

import pytest
import yaml

from evaluators.latency import conditions
from evaluators.latency.isolated import Measurement, Progress
from evaluators.latency.measure import summarise
from nas import measuring
from nas.architecture import make_config, save_config
from search_spaces.zoo import ZOO


@pytest.fixture
def nas(nas, monkeypatch, tmp_path):
    """Run `nas measure` in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    return partial(nas, "measure")


@pytest.fixture
def config(tmp_path):
    genotype = ZOO["deit_mini"].build(8)
    made = make_config(genotype, name="mine", image_size=8, in_chans=1, classes=("a", "b"))
    return save_config(made, tmp_path / "mine.yaml")


@pytest.fixture
def instant(monkeypatch):
    """In the place of measuring: every network takes 2 ms; a test may change what comes."""
    changes = {}

    def measure(jobs, here, settings, *, report, **options):
        report(Progress(doing="measuring", left_s=3.0))
        for job in jobs:
            found = Measurement(
                name=job.name, latency=summarise([2.0] * 5, job.under(here), 0), memory=(), energy=None, error=None,
                notes=(), drift=0.0, disturbed=0.0, reference_ms=1.0,
            )  # fmt: skip
            yield replace(found, **changes.get(job.name, {}))
        if changes.get("interrupt"):
            raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "measure_isolated", measure)
    return changes


def test_a_config_and_a_zoo_network_are_measured_side_by_side(nas, config):
    status, out, err = nas(config, "pvt_mini", "--seconds", 2, "--device", "cpu", "--watts", 10)
    assert status == 0, err
    head, columns, mine, other, energy = out.splitlines()
    assert "eager, float32, batch 1, threads 1, torch " in head
    assert [c for c in ("ms", "90 % interval", "rounds", "memory MB", "training MB", "mJ") if c not in columns] == []
    assert mine.split()[:2] == ["mine", "8x8"]
    assert other.split()[:2] == ["pvt_mini", "32x32"]
    assert energy.startswith(("energy: estimated, time x 10 W", "energy: measured"))
    assert "building pvt_mini" in err


def test_json_has_the_figures_and_their_conditions(nas, config, instant):
    status, out, err = nas(config, config, "--json", "--batch", 4, "--device", "cpu")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert [m["name"] for m in found["measurements"]] == ["mine", "mine (2)"]
    assert found["measurements"][0]["latency_ms"] == 2.0
    assert (found["conditions"]["batch"], found["conditions"]["device"]) == (4, conditions.device_name("cpu"))


def test_an_error_of_one_is_said_and_the_others_stay(nas, config, instant):
    instant["mine"] = {"latency": None, "error": "out of memory: 3 GB", "notes": ("the device became slower",)}
    status, out, err = nas(config, "pvt_mini", "--device", "cpu")
    assert status == 1
    assert "nas: mine: out of memory: 3 GB" in err.splitlines()
    assert "note: the device became slower" in err
    assert out.splitlines()[-1].split()[0] == "pvt_mini"


@pytest.mark.parametrize("latency", [{}, {"latency": None, "error": "stopped before the end"}])
def test_stopping_prints_what_there_is(nas, config, instant, latency):
    instant["interrupt"], instant["pvt_mini"] = True, latency
    status, out, err = nas(config, "pvt_mini", "--device", "cpu")
    assert status == 130
    assert " 2  " in out
    assert ("nas: pvt_mini: stopped before the end" in err) == bool(latency)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["deit_min"], "unknown config file or zoo network 'deit_min'; did you mean 'deit_mini'?"),
        (["missing.yaml"], "missing.yaml: no such architecture file"),
        (["deit_mini", "--device", "gpu"], "--device: unknown device 'gpu'; choices: auto, cpu, cuda or cuda:N"),
        (["deit_mini", "--runtime", "eagr"], "--runtime: unknown runtime 'eagr'; did you mean 'eager'?"),
        (["deit_mini", "--dtype", "float"], "--dtype: unknown dtype 'float'; did you mean 'float32'?"),
        (["deit_mini", "--seconds", "0"], "--seconds: 0 is out of range; give a number above 0"),
        (["deit_mini", "--watts", "-1"], "--watts: -1 is out of range; give a number above 0"),
        (
            ["deit_mini", "--device", "cpu", "--runtime", "onnxruntime", "--dtype", "bfloat16"],
            "runtime onnxruntime: bfloat16 is not supported; choose float32 or float16",
        ),
    ],
)
def test_a_mistake_is_one_line(nas, words, error):
    status, out, err = nas(*words)
    assert (status, out, err) == (2, "", f"nas: {error}\n")


def test_a_broken_config_names_its_line(nas, config):
    data = yaml.safe_load(config.read_text()) | {"genotypo": 1}
    config.write_text(yaml.safe_dump(data))
    status, _, err = nas(config)
    assert status == 2
    assert "mine.yaml" in err
    assert "genotypo" in err
