"""The command line as a user meets it: results on stdout, one clear line and exit status 2 for a mistake."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

CAMPAIGN = {
    "data": {"source": "digits"},
    "objectives": ["accuracy", "macs_g"],
    "budget": {"trials": 2, "minutes": 5},
    "training": {"epochs": 1},
    "execution": {"backend": "inline"},
    "space": {"fix": {"topology": "plain", "plain.depth": 2}},
}


@pytest.fixture
def nas(nas, monkeypatch, tmp_path):
    """Run `nas` in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    return nas


def campaign_file(folder: Path, **changes: object) -> Path:
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(CAMPAIGN | changes))
    return path


def pictures(folder: Path, classes: tuple[str, ...], each: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def test_help_is_quick_because_it_imports_no_torch():
    script = (
        "import sys; sys.argv = ['nas', '--help']\nfrom nas.cli import main\n"
        "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "False"
    assert all(word in out for word in ("search", "report", "export", "train", "show", "sample", "list"))


@pytest.mark.slow
def test_from_campaign_to_trained_export(nas, tmp_path):
    path = campaign_file(tmp_path)
    status, out, err = nas("search", path, "--name", "first")
    assert (status, "report" in out, "config" in out) == (0, True, True), err
    assert "[2/2" in err
    status, out, _ = nas("export", "runs/first", "--select", "best", "--to", "config,torch")
    assert status == 0
    config = next(line for line in out.splitlines() if line.endswith(".yaml"))
    assert nas("show", config)[0] == 0
    status, out, err = nas("train", config, "--data", "digits", "--epochs", 1, "--output", "trained")
    assert status == 0, err
    assert (tmp_path / "trained" / "model.safetensors").is_file()
    status, out, _ = nas("report", "runs/first")
    assert (status, Path(out.strip()).name) == (0, "index.html")


def test_search_as_json_and_its_dry_run(nas, tmp_path):
    path = campaign_file(tmp_path)
    status, out, _ = nas("search", path, "--dry-run", "--json")
    assert (status, json.loads(out)["objectives"]) == (0, "accuracy (maximize), macs_g (minimize)")
    assert not (tmp_path / "runs").exists()
    status, out, _ = nas("search", path, "--json", "--set", "budget.trials=1")
    found = json.loads(out)
    assert (status, found["status"], found["trials"], len(found["front"])) == (0, "finished", 1, 1)


@pytest.mark.parametrize("what", ["spaces", "mechanisms", "samplers", "evaluators", "datasets", "zoo"])
def test_every_list_has_rows(nas, what):
    status, out, _ = nas("list", what, "--json")
    rows = json.loads(out)
    assert status == 0
    assert len(rows) >= 2
    assert all(row["name"] for row in rows)
    assert nas("list", what)[1].count("\n") == len(rows) + 1


def test_the_zoo_gives_sources_and_what_no_genotype_can_say(nas):
    rows = {row["name"]: row for row in json.loads(nas("list", "zoo", "--json")[1])}
    published = [row for row in rows.values() if row.get("classes") == 1000]
    assert len(published) >= 30
    assert all(row["params"] and row["macs"] and row["paper"] and row["arxiv"] and row["source"] for row in published)
    assert all((row["accuracy_source"] is None) == (row["accuracy"] is None) for row in published)
    assert rows["cmt_tiny"]["input"] == 160
    assert (rows["swin_tiny"]["accuracy"], rows["dat_tiny"]["accuracy"]) == (0.8139, None)
    reason = rows["msg_tiny"]["not_expressed"]
    assert f"msg_tiny  not expressed: {reason}" in nas("list", "zoo")[1].splitlines()


def test_show_adds_up_to_the_published_count(nas):
    status, out, _ = nas("show", "deit_tiny", "--json")
    shown = json.loads(out)
    assert (status, shown["totals"]["params"]) == (0, 5_717_416)
    assert sum(part["params"] for part in shown["parts"]) == 5_717_416
    assert sum(part["macs"] for part in shown["parts"]) == shown["totals"]["macs"]


def test_samples_are_configs_that_show_reads(nas, tmp_path):
    status, out, _ = nas("sample", "vit_small", "--count", 3, "--seed", 1, "--output", "drawn")
    assert (status, len(out.splitlines())) == (0, 3)
    assert nas("show", out.splitlines()[0])[0] == 0
    assert nas("sample", "vit_small", "--count", 2)[1] == nas("sample", "vit_small", "--count", 2)[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budjet": {"trials": 3}}, ["budjet", "budget"]),
        ({"space": {"fix": {"stage1.mixer_a": "windw"}}}, ["windw", "window"]),
        ({"space": {"name": "vit_smal"}}, ["vit_smal", "vit_small"]),
        ({"budget": {"trials": "ten"}}, ["budget.trials", "'ten'"]),
        ({"budget": {"minutes": "10m"}}, ["budget.minutes", "10m"]),
        ({"constraints": {"params_m": ["<= 1", ">= 2"]}}, ["params_m", "contradict"]),
        ({"constraints": {"params_m": "<= 0.0000001"}}, ["params_m", "factor"]),
        ({"data": {"source": "./nowhere"}}, ["data.source", "nowhere"]),
        ({"data": {"source": "digts"}}, ["digts", "digits"]),
        ({"references": ["deit_min"]}, ["deit_min", "deit_mini"]),
        ({"sampler": {"name": "tpee"}}, ["tpee", "tpe"]),
        ({"objectives": ["latency_ms", "macs_g"]}, ["objectives", "accuracy"]),
        ({"version": 99}, ["version", "99"]),
    ],
)
def test_a_mistake_in_a_campaign_is_one_line(nas, tmp_path, changes, words):
    status, out, err = nas("search", campaign_file(tmp_path, **changes))
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert "campaign.yaml" in err or "constraints" in err or "space" in err
    assert all(word in err for word in words), err
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_a_gpu_is_one_line(nas, tmp_path):
    status, _, err = nas("search", campaign_file(tmp_path, execution={"backend": "inline", "device": "cuda"}))
    assert (status, err.count("\n")) == (2, 1)
    assert "execution.device" in err


def test_malformed_yaml_names_its_line(nas, tmp_path):
    (tmp_path / "bad.yaml").write_text("data: {source: digits}\nbudget: [1, 2\n")
    status, _, err = nas("search", "bad.yaml")
    assert (status, err.count("\n")) == (2, 1)
    assert "bad.yaml:" in err


@pytest.mark.parametrize("classes", [(), ("only",)])
def test_data_that_cannot_be_searched_on_is_one_line(nas, tmp_path, classes):
    (tmp_path / "photos").mkdir()
    pictures(tmp_path / "photos", classes)
    status, _, err = nas("search", campaign_file(tmp_path, data={"source": "./photos", "image_size": 16}))
    assert (status, err.count("\n")) == (2, 1), err
    assert "photos" in err


def test_labels_out_of_range_are_one_line(nas, tmp_path):
    images, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 2 - 1
    np.savez(tmp_path / "d.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    status, _, err = nas("search", campaign_file(tmp_path, data={"source": "./d.npz"}))
    assert (status, err.count("\n")) == (2, 1), err
    assert "label" in err


def test_an_image_size_that_no_network_takes_is_one_line(nas, tmp_path):
    changes = {"space": {"name": "vit_224"}}
    status, _, err = nas("search", campaign_file(tmp_path, **changes))
    assert (status, err.count("\n")) == (2, 1), err
    assert "8" in err


def test_more_workers_than_cores_is_a_warning(nas, tmp_path):
    path = campaign_file(tmp_path, execution={"backend": "inline", "workers": 999})
    status, _, err = nas("search", path, "--set", "budget.trials=1")
    assert status == 0
    assert "warning: 999 workers" in err


def test_wrong_words_on_the_command_line_are_one_line(nas, tmp_path):
    assert nas("report", "nowhere")[0] == 2
    assert nas("show", "deit_tin")[2].count("deit_tiny") == 1
    assert "zoo" in nas("list", "zooo")[2]
    status, _, err = nas("search", campaign_file(tmp_path), "--set", "budget.trails=3")
    assert (status, "budget.trails" in err, "trials" in err) == (2, True, True)


def test_a_config_from_a_newer_version_is_refused(nas, tmp_path):
    out = nas("sample", "vit_small", "--output", "drawn")[1].strip()
    text = (tmp_path / out).read_text().replace("version: 1", "version: 7", 1)
    (tmp_path / "new.yaml").write_text(text)
    status, _, err = nas("show", "new.yaml")
    assert (status, err.count("\n")) == (2, 1)
    assert "newer vitnas" in err


def test_a_stopped_search_says_how_to_go_on_with_the_same_words(nas, tmp_path, monkeypatch):
    def stop(self, job):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("nas.worker.Worker.steps", stop)
    path = campaign_file(tmp_path)
    status, _, err = nas("search", path, "--set", "budget.trials=1")
    assert status == 130
    assert f"go on with: nas search {path} --set budget.trials=1 --resume" in err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert nas("search", path, "--set", "budget.trials=1", "--resume")[0] == 0


@pytest.mark.parametrize("command", ["show", "train", "search"])
def test_a_folder_where_a_file_belongs_names_one_in_it(nas, tmp_path, command):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "trial-0001.yaml").touch()
    status, _, err = nas(command, tmp_path, *(["--data", "digits"] if command == "train" else []))
    assert (status, err.count("\n")) == (2, 1)
    assert err.endswith(f"a folder, not a file; did you mean {tmp_path / 'configs' / 'trial-0001.yaml'}?\n")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_one_line(nas, tmp_path, monkeypatch, code):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "mkdir", Mock(side_effect=OSError(code, os.strerror(code), "out")))
    assert nas("sample", "vit_small", "--output", "out") == (2, "", f"nas: out: {os.strerror(code)}\n")


def test_a_file_whose_name_is_no_run_folder_says_how_to_give_one(nas, tmp_path):
    (tmp_path / "my campaign.yaml").write_text("data: {source: digits}")
    status, _, err = nas("search", tmp_path / "my campaign.yaml", "--dry-run")
    assert (status, err.count("\n")) == (2, 1)
    assert "--name" in err


def test_an_empty_name_is_refused(nas, tmp_path):
    (tmp_path / "c.yaml").write_text("data: {source: digits}")
    status, _, err = nas("search", tmp_path / "c.yaml", "--name", "", "--dry-run")
    assert (status, err) == (2, "nas: --set name: expected a folder name of letters, digits, . _ -, found ''\n")


def test_a_dry_run_looks_for_what_is_to_be_resumed(nas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("data: {source: digits}")
    status, _, err = nas("search", "c.yaml", "--dry-run", "--resume")
    assert (status, err) == (2, "nas: runs/c: nothing to resume; start it without --resume\n")
    assert not Path("runs").exists()


def test_the_image_size_of_a_campaign_is_its_own(nas, tmp_path):
    (tmp_path / "c.yaml").write_text("data: {source: digits}")
    status, _, err = nas("sample", tmp_path / "c.yaml", "--image-size", 64)
    assert (status, err.partition(" says")[0]) == (2, "nas: --image-size: the campaign")


def test_data_of_an_override_are_placed_there_and_those_of_an_option_at_the_option(nas, tmp_path):
    (tmp_path / "p" / "only").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "p" / "only" / "a.png")
    (tmp_path / "c.yaml").write_text("data: {source: digits}")
    _, _, err = nas("search", tmp_path / "c.yaml", "--set", f"data.source={tmp_path / 'p'}", "--dry-run")
    assert err.startswith(f"nas: --set data.source '{tmp_path / 'p'}': there is one class only")
    nas("sample", "vit_small", "--image-size", 8, "--output", tmp_path)
    _, _, err = nas("train", tmp_path / "sample-0000.yaml", "--data", tmp_path / "p")
    assert err.startswith("nas: --data '")
