"""`nas heads` as a user meets it: a table, plain data, and one line for a mistake."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

import search_spaces
from evaluators.head_diversity.analysis import Samples, measure_heads
from nas.architecture import Conditions, Measured, make_config, save_config
from nas.genotype import Atom, Genotype, Stage
from nas.retraining import train_config

DIGITS = [str(i) for i in range(10)]


def genotype(*stages: Stage) -> Genotype:
    return Genotype(topology="plain", stem=Atom("patch", size=2), position=Atom("learned"), stages=stages)


TINY = genotype(Stage(width=16, depth=2, head_dim=8, a=Atom("softmax"), b=Atom("token_statistics")))


@pytest.fixture
def config(tmp_path):
    conditions = Conditions(kind="search", date="", data="digits", device="cpu", seed=0, recipe={})
    measured = Measured(values={"accuracy": 0.5}, conditions=conditions)
    made = make_config(TINY, name="tiny", image_size=8, in_chans=1, classes=DIGITS, measured=measured)
    return save_config(made, tmp_path / "tiny.yaml")


@pytest.fixture
def nas(nas, monkeypatch, tmp_path):
    """Run `nas` in an empty folder, on few pictures: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    few = Samples(outputs=8, maps=1, probe=60, held_out=30)
    monkeypatch.setattr("nas.head_report.measure_heads", partial(measure_heads, samples=few))

    return nas


def test_the_table_has_a_line_per_layer(nas, config):
    status, out, err = nas("heads", config)
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0] == f"{config}: fresh weights, measured on digits"
    assert lines[2].split()[:5] == ["layer", "mechanism", "heads", "effective", "cosine"]
    assert [line.split()[:3] for line in lines[3:5]] == [["1.1", "softmax", "2"], ["1.2", "token_statistics", "2"]]
    assert ("2/2" in lines[3], "no map" in lines[4]) == (True, True)
    assert "before any training" in err


def test_json_holds_every_measure(nas, config):
    status, out, _ = nas("heads", config, "--data", "digits", "--json")
    first, second = json.loads(out)["layers"]
    assert status == 0
    assert len(first["look"]["distances"]) == 2
    assert first["distance"] == pytest.approx(sum(first["look"]["distances"]) / 2)
    assert second["look"] is second["distance"] is None
    assert len(first["specialisation"]["by_label"][0]) == 10


def test_trained_weights_are_the_ones_measured(nas, config, tmp_path):
    train_config(config, "digits", epochs=1, output=tmp_path / "out", device="cpu", batch_size=256)
    weights = tmp_path / "out" / "model.safetensors"
    trained = json.loads(nas("heads", tmp_path / "out" / "config.yaml", "--json")[1])
    given = json.loads(nas("heads", tmp_path / "out" / "config.yaml", "--weights", weights, "--json")[1])
    assert trained["weights"] == "model.safetensors"
    assert given["weights"] == str(weights)
    assert given["layers"] == trained["layers"]
    assert json.loads(nas("heads", config, "--json")[1])["layers"] != trained["layers"]


def test_a_network_of_the_zoo_is_measured_on_named_data(nas):
    status, out, err = nas("heads", "deit_mini", "--data", "digits", "--json")
    assert status == 0, err
    assert {layer["mechanism"] for layer in json.loads(out)["layers"]} == {"softmax"}


def test_what_cannot_be_measured_is_one_line(nas, config, tmp_path):
    other = make_config(genotype(Stage(width=16, depth=1, a=Atom("pooling"))), name="x", image_size=8, in_chans=1,
                        classes=DIGITS)  # fmt: skip
    pooled = save_config(other, tmp_path / "pooled.yaml")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    save_file({"head.fc.weight": torch.zeros(10, 16)}, tmp_path / "few.safetensors")
    for words, expected in [
        ((pooled,), "--data: "),
        ((pooled, "--data", "digits"), "none of its mechanisms has heads"),
        ((pooled, "--data", "digts"), "digits"),
        (("deit_min", "--data", "digits"), "deit_mini"),
        (("nowhere.yaml",), "nowhere.yaml"),
        ((config, "--weights", "none.safetensors"), "no such file"),
        ((config, "--weights", "torn.safetensors"), "not a safetensors file"),
        ((config, "--weights", "few.safetensors"), "few.safetensors: not of tiny: Missing key(s)"),
    ]:
        status, out, err = nas("heads", *words)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert expected in err


def test_weights_of_another_network_name_the_difference(nas, config, tmp_path):
    weights = search_spaces.build(config).state_dict() | {"head.fc.weight": torch.zeros(3, 16)}
    save_file(weights, tmp_path / "three.safetensors")
    status, _, err = nas("heads", config, "--weights", "three.safetensors")
    assert (status, err.count("\n")) == (2, 1)
    assert "head.fc.weight" in err
