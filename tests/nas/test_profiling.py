"""nas profile and nas predict: what they print, and that every mistake is one line."""

import json
from dataclasses import replace
from functools import lru_cache

import pytest

from evaluators.device_profile.profile import DeviceProfile
from evaluators.device_profile.profile_file import write_profile
from evaluators.latency.conditions import conditions_here, device_name
from nas import profiling
from nas.architecture import make_config, save_config
from tests.evaluators.device_profile.made_up import DIGITS, HERE, digits, profile, records

COMMAND = ["profile", "--device", "cpu", "-o"]
GENOTYPE = next(s.genotype for s in digits(9) if s.image_size == (8, 8))
CAMPAIGN = """
name: small
data: {source: digits}
space: {name: vit_small, fix: {topology: plain}, narrow: {plain.width: [32, 48]}}
objectives: [accuracy, latency_ms]
budget: {trials: 4}
"""


@lru_cache
def mine() -> DeviceProfile:
    """Of this machine's name, with made-up times."""
    here = conditions_here("cpu", image_size=8, in_chans=1)
    return DeviceProfile("cpu", here, DIGITS, records(digits(90), digits(12, seed=1))).fit(profile().state())


@pytest.fixture
def nas(nas, monkeypatch, tmp_path):
    """Run `nas` where cpu.json, other.json and mine.yaml are: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    write_profile(mine(), tmp_path / "cpu.json")
    write_profile(profile(), tmp_path / "other.json")
    names = tuple(str(i) for i in range(10))
    config = make_config(GENOTYPE, name="mine", image_size=8, in_chans=1, classes=names)
    save_config(config, tmp_path / "mine.yaml")

    return nas


@pytest.fixture
def instant(monkeypatch):
    """In the place of making a profile: it is there at once. Returns the orders given."""
    orders = []

    def make(order, path, report):
        orders.append(order)
        report("measuring", 3.0)
        write_profile(mine(), path, {"networks": 2, "scores": None, "covered": None, "ceiling": None, "half": None})
        if order.seed:
            raise KeyboardInterrupt

    monkeypatch.setattr(profiling, "make_profile", make)
    return orders


def test_a_prediction_has_latency_with_interval_stages_energy_and_memory(nas):
    status, out, err = nas("predict", "mine.yaml", "--profile", "cpu.json")
    head, columns, row, energy = out.splitlines()
    assert (status, err) == (0, "")
    assert head == f"{device_name('cpu')}, eager, float32, batch 1, threads 1: predicted"
    assert [c for c in ("ms", "90 % interval", "mJ", "memory MB", "ms by stage") if c not in columns] == []
    assert row.split()[:2] == ["mine", "8x8"]
    assert energy == "energy: estimated, latency x 8 W (a typical power)"


def test_json_has_the_same_numbers_and_stages_add_up(nas):
    _, out, _ = nas("predict", "mine.yaml", "mine.yaml", "--profile", "cpu.json", "--json")
    row, again = json.loads(out)["predictions"]
    estimate = mine().latency([GENOTYPE], image_size=8, in_chans=1, classes=10)
    assert row == again
    assert row["latency_ms"] == pytest.approx(float(estimate.mean[0]), rel=1e-9)
    assert row["interval"] == pytest.approx([float(estimate.low[0]), float(estimate.high[0])], rel=1e-9)
    assert sum(row["stages"].values()) == pytest.approx(row["latency_ms"], rel=1e-9)
    assert row["energy_mj"] == pytest.approx(8 * row["latency_ms"], rel=1e-9)


def test_a_profile_of_another_device_is_used_unless_this_one_is_asked_for(nas):
    assert nas("predict", "mine.yaml", "--profile", "other.json")[0] == 0
    status, out, err = nas("predict", "mine.yaml", "--profile", "other.json", "--device", "cpu")
    assert (status, out) == (2, "")
    assert f"device: asked for {device_name('cpu')}, found made-up" in err


def test_force_warns_and_widens(nas):
    words = ["predict", "mine.yaml", "--profile", "cpu.json", "--json"]
    own = json.loads(nas(*words)[1])["predictions"][0]["interval"]
    status, out, err = nas(*words, "--threads", 4, "--force")
    wide = json.loads(out)["predictions"][0]["interval"]
    assert status == 0
    assert err == "warning: cpu.json: threads: asked for 4, found 1; intervals are widened\n"
    assert wide[1] / wide[0] == pytest.approx((own[1] / own[0]) ** 2, rel=1e-6)


def test_an_image_outside_the_region_is_refused_and_with_force_flagged(nas):
    words = ["predict", "deit_mini", "--profile", "cpu.json"]
    status, out, err = nas(*words)
    assert (status, out) == (2, "")
    assert "image: 32 is beyond 8 to 16; channels: 3 is beyond 1 to 1; --force" in err
    status, out, err = nas(*words, "--force")
    assert status == 0
    assert err == "note: deit_mini lies outside the profiled region; its interval is widened\n"


def test_a_profile_is_made_and_summed_up(nas, instant):
    status, out, err = nas(*COMMAND, "new.json", "--minutes", 1, "--space", "vit_small", "--image-size", 8)
    assert status == 0, err
    assert "measuring" in err
    assert f"{len(mine().records.units)} units and 90 networks measured in 18 s" in out
    assert out.splitlines()[-1] == "profile  new.json"
    assert [area.image_sizes for area in instant[0].region.areas] == [(8,)]


def test_a_profile_for_a_campaign_has_its_space_and_pictures(nas, instant, tmp_path):
    (tmp_path / "c.yaml").write_text(CAMPAIGN)
    _, out, _ = nas(*COMMAND, "new.json", "--campaign", "c.yaml", "--json")
    region = instant[0].region
    assert json.loads(out)["networks"] == 90
    assert (region.areas[0].fix, region.areas[0].image_sizes) == ({"topology": "plain"}, (8,))
    assert (region.in_chans, region.classes) == ((1,), (10,))


def test_stopping_says_that_what_was_measured_is_kept(nas, instant, monkeypatch):
    order = profiling.Order
    monkeypatch.setattr(profiling, "Order", lambda **options: replace(order(**options), seed=1))
    status, _, err = nas(*COMMAND, "new.json")
    assert status == 130
    assert "stopped; new.json holds what was measured, and the same command goes on with it" in err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            [*COMMAND, "x.json", "--minutes", "0.5"],
            "--minutes: 0.5 is out of range; give at least 1, to learn something",
        ),
        (
            [*COMMAND, "x.json", "--minutes", "nan"],
            "--minutes: nan is out of range; give at least 1, to learn something",
        ),
        (
            [*COMMAND, "x.json", "--minutes", "inf"],
            "--minutes: inf is out of range; give at least 1, to learn something",
        ),
        ([*COMMAND, "x.txt"], "--output: x.txt does not end in .json; a profile is a JSON file such as cpu.json"),
        ([*COMMAND, "no/x.json"], "--output: there is no folder no"),
        ([*COMMAND, "x.json", "--runtime", "eagr"], "--runtime: unknown runtime 'eagr'; did you mean 'eager'?"),
        ([*COMMAND, "x.json", "--watts", "-1"], "--watts: -1 is out of range; give a number above 0"),
        ([*COMMAND, "x.json", "--space", "vit_smal"], "unknown space 'vit_smal'; did you mean 'vit_small'?"),
        ([*COMMAND, "x.json", "--from", "y.json"], "y.json: no such profile; make one with: nas profile -o y.json"),
        (
            [*COMMAND, "x.json", "--from", "other.json", "--samples", "2"],
            "--samples: 2 is too few to adapt a profile; give at least 3",
        ),
        ([*COMMAND, "x.json", "--campaign", "c.yaml"], "c.yaml: no such campaign file; did you mean mine.yaml?"),
        (
            ["profile", "--device", "gpu", "-o", "x.json"],
            "--device: unknown device 'gpu'; choices: auto, cpu, cuda or cuda:N",
        ),
        (
            [*COMMAND, "x.json", "--campaign", "c.yaml", "--space", "vit_small"],
            "--campaign says which space and image size; leave out --space and --image-size",
        ),
        (
            ["predict", "mine.yaml", "--profile", "none.json"],
            "none.json: no such profile; make one with: nas profile -o none.json",
        ),
        (
            ["predict", "mine.yml", "--profile", "cpu.json"],
            "mine.yml: no such architecture file; did you mean mine.yaml?",
        ),
        (
            ["predict", "mine.yaml", "--profile", "cpu.json", "--runtime", "compil"],
            "--runtime: unknown runtime 'compil'; did you mean 'compile'?",
        ),
        (
            ["predict", "mine.yaml", "--profile", "cpu.json", "--batch", "64"],
            "cpu.json: made under other conditions; batch: asked for 64, found 1; --force uses it all the same",
        ),
    ],
)
def test_a_mistake_is_one_line(nas, words, error):
    assert nas(*words) == (2, "", f"nas: {error}\n")


def test_a_gpu_that_is_not_there_is_one_line(nas):
    status, out, err = nas("profile", "--device", "cuda:99", "-o", "x.json")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("nas: device cuda:99: ")


def test_a_damaged_profile_is_one_line(nas, tmp_path):
    content = json.loads((tmp_path / "cpu.json").read_text())
    for change in ({"conditions": 3}, {"units": 3}):
        (tmp_path / "bad.json").write_text(json.dumps(content | change))
        for words in (["predict", "mine.yaml", "--profile", "bad.json"], [*COMMAND, "x.json", "--from", "bad.json"]):
            status, out, err = nas(*words)
            assert (status, out) == (2, "")
            assert err.startswith("nas: bad.json: ")
            assert err.count("\n") == 1


def test_a_file_of_another_device_is_not_overwritten(nas, tmp_path):
    before = (tmp_path / "other.json").read_text()
    status, _, err = nas(*COMMAND, "other.json", "--space", "vit_small", "--image-size", 8)
    assert status == 2
    assert err.splitlines()[-1].startswith("nas: other.json: made under other conditions; device: asked for")
    assert (tmp_path / "other.json").read_text() == before


def test_another_runtime_than_the_profiles_is_refused_with_what_differs(nas):
    status, _, err = nas("predict", "mine.yaml", "--profile", "cpu.json", "--runtime", "compile")
    assert status == 2
    assert f"runtime: asked for compile, found {HERE.runtime}" in err
