"""DEVICE.json: what is written comes back, and every kind of damage is one line."""

import json
from dataclasses import replace

import numpy as np
import pytest

from evaluators.device_profile.profile import DeviceProfile
from evaluators.device_profile.profile_file import read_profile, write_profile
from nas.errors import UserError
from tests.evaluators.device_profile.made_up import DIGITS, HERE, digits, drawn, profile, records

ASKED = digits(25, seed=7)


@pytest.fixture
def path(tmp_path):
    write_profile(profile(), tmp_path / "cpu.json")
    return tmp_path / "cpu.json"


def estimates(found: DeviceProfile) -> np.ndarray:
    latency = found.estimate(ASKED, [s.units() for s in ASKED])
    memory = found.memory_mb([s.genotype for s in ASKED], image_size=8, in_chans=1, classes=10, phase="training")
    return np.array([latency.mean, latency.low, latency.high, memory.mean, memory.low, memory.high])


def broken(path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def error_of(path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read_profile(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_a_profile_read_again_predicts_the_same_and_tunes_nothing(path, monkeypatch):
    monkeypatch.setattr("evaluators.prediction.gaussian_process.tune", None)
    np.testing.assert_allclose(estimates(read_profile(path)), estimates(profile()), rtol=1e-9)


def test_writing_what_was_read_gives_the_same_file(path):
    first = path.read_text()
    write_profile(read_profile(path), path)
    assert path.read_text() == first


def test_an_adapted_profile_carries_the_one_it_adapts(path, tmp_path):
    conditions = replace(HERE, device="other")
    adapted = DeviceProfile("phone", conditions, DIGITS, replace(records(digits(9)), units=[]), origin=profile()).fit()
    write_profile(adapted, tmp_path / "phone.json")
    path.unlink()
    np.testing.assert_allclose(estimates(read_profile(tmp_path / "phone.json")), estimates(adapted), rtol=1e-9)


def test_records_stand_one_a_line_in_plain_json(path):
    lines = path.read_text().splitlines()
    content = json.loads(path.read_text())
    assert len(content["units"]) == sum(line.startswith('{"part"') for line in lines)
    assert content["units"] == [u.to_json() for u in profile().records.units]
    assert content["format"] == "vitnas-device-profile"


def test_writing_leaves_the_old_file_when_it_fails(path, monkeypatch):
    before = path.read_text()
    monkeypatch.setattr(DeviceProfile, "state", lambda self: {"broken": object()})
    with pytest.raises(TypeError):
        write_profile(profile(), path)
    assert path.read_text() == before


def test_a_missing_profile_says_how_to_make_one(tmp_path):
    assert "nas profile" in error_of(tmp_path / "none.json")


@pytest.mark.parametrize("text", ["", "not json", "[]", '"text"', "{", "\x80", '{"format": 3}'])
def test_what_is_no_profile_is_said_to_be_none(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    error_of(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda c: c.update(format="recipe"), "profile"),
        (lambda c: c.update(version=99), "version 99"),
        *((lambda c, key=key: c.pop(key), key) for key in ("conditions", "region", "models", "units", "networks")),
        (lambda c: c["conditions"].update(threads="one"), "threads"),
        (lambda c: c["conditions"].update(runtime="tvm"), "runtime"),
        (lambda c: c["region"].pop("areas"), "region"),
        (lambda c: c["region"]["areas"][0].update(image_sizes=[]), "region"),
        (lambda c: c.update(region=7), "region"),
        (lambda c: c["units"][3].pop("atoms"), "units[3]"),
        (lambda c: c["units"][3].update(part="wheel"), "units[3]"),
        (lambda c: c["units"][3]["numbers"].update(dim="wide"), "units[3]"),
        (lambda c: c["units"][3]["numbers"].clear(), "units[3]"),
        (lambda c: c["units"][0]["atoms"].update(stem="nonesuch"), "units[0]"),
        (lambda c: c["units"].insert(2, "softmax"), "units[2]"),
        (lambda c: c["units"][0].update(ms=-1.0), "units[0]"),
        (lambda c: c["units"][0].update(ms=float("nan")), "units[0]"),
        (lambda c: c["units"][0].update(ms="1"), "units[0]"),
        (lambda c: c["units"][0].update(kept_mb=float("nan")), "units[0]"),
        (lambda c: c["units"][0].update(speed=1), "units[0]"),
        (lambda c: c["networks"][1].update(ms=0), "networks[1]"),
        (lambda c: c["networks"][1].update(role="judge"), "role"),
        (lambda c: c["networks"][1].update(genotype={}), "networks[1]"),
        (lambda c: c["networks"][1]["memory"].update(training=-3.0), "networks[1]"),
        (lambda c: c["networks"][1].update(memory=[1]), "networks[1]"),
        (lambda c: c["sessions"][0].pop("drift"), "sessions[0]"),
        (lambda c: c.update(sessions=None), "sessions"),
        (lambda c: c.update(units={}), "units"),
        (lambda c: c.update(failed=3), "failed"),
        (lambda c: c.update(models=[]), "models"),
        (lambda c: c["models"]["units"].update({"ffn mlp": {"theta": [1]}}), "models"),
        (lambda c: c.update(watts="many"), "watts"),
        (lambda c: c.update(origin={"format": "x"}), "origin"),
    ],
)
def test_damage_is_one_line_that_names_its_place(path, change, word):
    broken(path, change)
    assert word in error_of(path)


def test_a_profile_of_another_device_is_refused_with_what_differs(path):
    asked = replace(HERE, device="other", runtime="compile", threads=4, versions=(("torch", "10"),))
    message = error_of(path, asked=asked)
    for phrase in (
        "asked for other, found made-up",
        "asked for compile",
        "asked for 4",
        "torch: asked for 10, found 9",
    ):
        assert phrase in message
    assert "--force" in message


def test_force_warns_and_widens(path, capsys):
    forced = read_profile(path, asked=replace(HERE, threads=4), force=True)
    own, wide = estimates(profile()), estimates(forced)
    assert "threads: asked for 4, found 1" in capsys.readouterr().err
    np.testing.assert_allclose(np.log(wide[2] / wide[0]), 2 * np.log(own[2] / own[0]), rtol=1e-6)


def test_the_input_is_a_matter_of_the_region_not_of_the_conditions(path):
    assert read_profile(path, asked=replace(HERE, image_size=(64, 64), in_chans=3)).wider == 1.0


def test_outside_the_region_is_flagged_and_wider():
    found = [
        profile().latency([s.genotype for s in ASKED], image_size=size, in_chans=1, classes=10) for size in (16, 64)
    ]
    assert [f.outside.any() for f in found] == [False, True]
    assert found[1].outside.all()
    strange = profile().latency([s.genotype for s in drawn("vit_small", 16, 8)], image_size=16, in_chans=3, classes=10)
    assert strange.outside.all()
