"""Full training of an exported architecture: it learns, survives interruption, and says what it cannot take."""

import csv
import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file

import search_spaces
from evaluators.data import load_dataset
from evaluators.proxy_training import ProxyTraining, Recipe, evaluate_accuracy
from nas.architecture import Conditions, Measured, make_config, save_config
from nas.errors import UserError
from nas.genotype import Atom, Genotype, Stage
from nas.retraining import train_config

TINY = Genotype(
    topology="plain",
    stem=Atom("patch", size=2),
    position=Atom("learned"),
    stages=(Stage(width=16, depth=1, head_dim=8, ffn=Atom("mlp", ratio=2)),),
)
DIGITS = [str(i) for i in range(10)]
RECIPE = {"lr": 0.004, "augment": ["crop"], "ema": 0.9, "mixup": 0.2, "drop_path": 0.1}


@pytest.fixture
def config_path(tmp_path):
    return write(tmp_path / "tiny.yaml")


def write(path, classes=DIGITS):
    conditions = Conditions(kind="search", date="", data="digits", device="cpu", seed=0, recipe=RECIPE)
    measured = Measured(values={"accuracy": 0.5}, conditions=conditions)
    config = make_config(TINY, name="tiny", image_size=8, in_chans=1, classes=classes, measured=measured)
    return save_config(config, path)


def train(path, output, epochs=2, **more):
    return train_config(path, "digits", epochs=epochs, output=output, device="cpu", batch_size=256, **more)


def test_training_learns_and_leaves_a_config_that_scores_the_same(config_path, tmp_path):
    trained = train(config_path, tmp_path / "out", epochs=4)
    data = load_dataset("digits", image_size=8)
    network = search_spaces.load(tmp_path / "out" / "config.yaml")
    test = evaluate_accuracy(network, data.test_x, data.test_y, data, device="cpu", batch_size=64)
    assert test == pytest.approx(trained.test_accuracy)
    rows = list(csv.DictReader((tmp_path / "out" / "history.csv").open()))
    assert [float(r["accuracy"]) for r in rows][-1] == trained.accuracy
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["accuracy"] == trained.accuracy


def test_the_recipe_of_the_search_is_used(config_path, tmp_path):
    train(config_path, tmp_path / "out", epochs=1)
    found = json.loads((tmp_path / "out" / "summary.json").read_text())["identity"]
    assert {k: found[k] for k in RECIPE} == RECIPE
    assert (found["epochs"], found["batch_size"]) == (1, 256)


def test_resume_equals_one_go(config_path, tmp_path, monkeypatch):
    whole = train(config_path, tmp_path / "whole", epochs=3)
    stop_after_epochs(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config_path, tmp_path / "parts", epochs=3)
    monkeypatch.undo()
    parts = train(config_path, tmp_path / "parts", epochs=3)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert parts.test_accuracy == whole.test_accuracy


def stop_after_epochs(count, monkeypatch):
    run = ProxyTraining.run

    def stopping(self):
        for point in run(self):
            yield point
            if point.epoch == count:
                raise KeyboardInterrupt

    monkeypatch.setattr(ProxyTraining, "run", stopping)


def test_a_finished_training_is_not_repeated(config_path, tmp_path, monkeypatch):
    first = train(config_path, tmp_path / "out", epochs=1)
    monkeypatch.setattr(ProxyTraining, "run", lambda self: pytest.fail("trained again"))
    assert asdict(train(config_path, tmp_path / "out", epochs=1)) == asdict(first)


def test_a_folder_of_another_training_is_refused(config_path, tmp_path):
    train(config_path, tmp_path / "out", epochs=1)
    with pytest.raises(UserError, match=r"another training \(epochs 1 -> 2, .*\); choose another --output"):
        train(config_path, tmp_path / "out", epochs=2)


def test_other_classes_get_a_new_head(tmp_path, capsys):
    path = write(tmp_path / "two.yaml", classes=["cat", "dog"])
    trained = train(path, tmp_path / "out", epochs=1)
    assert "the data have 10 classes where the file has 2" in trained.notes[-1]
    assert search_spaces.load(tmp_path / "out" / "config.yaml").head.fc.out_features == 10
    assert "epoch 1/1" in capsys.readouterr().err


def test_damaged_checkpoints_and_missing_devices_are_one_line(config_path, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"checkpoint.safetensors: damaged .*; remove it"):
        train(config_path, tmp_path / "out")
    with pytest.raises(UserError, match="--device: unknown device 'gpu'"):
        train_config(config_path, "digits", device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU for 'cuda' here"):
            train_config(config_path, "digits", device="cuda")


def test_state_survives_a_round_trip(config_path):
    data = load_dataset("digits", image_size=8)
    recipe = Recipe(epochs=2, batch_size=256, ema=0.9, mixup=0.2)
    first = ProxyTraining(search_spaces.build(config_path), data, recipe, device="cpu", seed=0)
    next(first.run())
    tensors, facts = first.state()
    second = ProxyTraining(search_spaces.build(config_path), data, recipe, device="cpu", seed=1)
    second.load_state(tensors, json.loads(json.dumps(facts)))
    again = second.state()
    assert again[1] == facts
    assert all(torch.equal(tensors[k], again[0][k]) for k in tensors)
