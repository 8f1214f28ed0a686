"""Exported files: configs come back unchanged, plain PyTorch and ONNX compute the same, mistakes are one clear line."""

import ast
import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

import search_spaces
import search_spaces.model
from nas.architecture import make_config, read_config, save_config
from nas.errors import UserError
from nas.exporting.config import trial_config
from nas.exporting.extract import Extract, write_imports
from nas.exporting.folder import export_run, export_trials
from nas.exporting.needs import Needs
from nas.exporting.onnx_file import write_onnx
from nas.exporting.select import select
from nas.exporting.torch_file import example_images, torch_source, write_torch
from nas.genotype import Atom, Genotype, Stage
from nas.journal import Journal
from nas.run import Run
from nas.trial import Trial
from search_spaces.mixers import MIXERS
from search_spaces.parts import DOWNSAMPLERS, FFNS, LOCALS, NORMS, POSITIONS, REDUCERS, STEMS

PLAIN = Genotype(topology="plain", stem=Atom("patch", size=2), stages=(Stage(width=32, depth=2, head_dim=8),))
PYRAMID = Genotype(
    topology="pyramid",
    stem=Atom("patch", size=2),
    stages=(Stage(width=32, depth=2, head_dim=8), Stage(width=32, depth=1, head_dim=8, down=Atom("merge"))),
)
DUAL = Genotype(
    topology="dual", stem=Atom("patch", size=2), stem_b=Atom("patch", size=4, scale=0.75),
    stages=(Stage(width=16, depth=2, head_dim=8), Stage(width=32, depth=3, head_dim=8, a=Atom("efficient"))),
    position=Atom("learned"), cls_token=True, head=Atom("cls"), fusion=Atom("class_attention", times=2),
)  # fmt: skip
NAMES = ["cat", 'a "dog"', "bird"]
DATA = {"image_size": 16, "in_chans": 3, "class_names": NAMES, "mean": [0.5, 0.4, 0.3], "std": [0.2] * 3}


def first_choice(name, search):
    return Atom(name, **{key: values[0] for key, values in search.items()})


def networks():
    """One tiny network for every mixer and every other part that is registered."""
    for name, kind in MIXERS.items():
        before = Atom("softmax") if kind.recalls in ("output", "scores") else first_choice(name, kind.search)
        yield name, PYRAMID.with_stage(0, a=before, b=first_choice(name, kind.search))
    for name, kind in REDUCERS.items():
        yield name, replace(PLAIN, reduction=first_choice(name, kind.search), position=Atom("learned"), registers=1)
    for name in POSITIONS:
        yield name, replace(PLAIN, position=Atom(name))
    for name in LOCALS:
        yield name, PLAIN.with_stage(0, local=Atom(name), norm=Atom("group"), layer_scale=1e-4)
    for name in DOWNSAMPLERS:
        yield f"{name} down", PYRAMID.with_stage(1, down=Atom(name), norm_out=True)
    for name in FFNS:
        yield f"{name} ffn", PLAIN.with_stage(0, ffn=Atom(name))
    for name in (s for s in STEMS if s != "patch"):
        yield f"{name} stem", replace(PLAIN, stem=Atom(name, stride=2))
    yield "dual", DUAL
    yield "bridge", replace(PYRAMID, bridge=Atom("context", depth=2, ratio=2))
    yield "class token", replace(PLAIN, cls_token=True, registers=2, position=Atom("learned"), head=Atom("cls"))
    yield "class attention", replace(PLAIN, head=Atom("class_attention", num_heads=4))
    yield "no norm", PLAIN.with_stage(0, norm=Atom("none"), ffn=Atom("batch_norm_mlp", ratio=2))
    yield "batch norms", PLAIN.with_stage(0, norm=Atom("batch", out="layer"), norm_out=True)
    yield "expanded head", replace(PLAIN, head=Atom("expanded", hidden=8))
    yield "shared table", PLAIN.with_stage(0, a=Atom("light", reduction=2, position_bias=True, shared=True))
    free = Atom("layer", bias=False, after=True, residual=1.0)
    yield "norm after", PLAIN.with_stage(0, norm=free, ffn=Atom("mlp", ratio=2, act="star_relu"))
    wide = Atom("pool", place="after", hidden=8, squared=True, distilled=True)
    yield "pads as tokens", PLAIN.with_stage(0, a=Atom("window", window="3x5", pads="tokens"))
    yield "learned bias", replace(PLAIN.with_stage(0, a=Atom("softmax", position="log_cpb")), registers=2)
    yield "rotary windows", PLAIN.with_stage(0, a=Atom("shifted_window", window=3, position="rope"))
    yield "hidden layer", replace(PLAIN, head=wide)
    pair = {"a": Atom("spatial_reduction", reduction=2), "b": Atom("efficient")}
    yield "sized tokens", replace(PLAIN, reduction=Atom("tome", proportional=True))
    yield "shared heads", PLAIN.with_stage(0, mode="headmix", **pair)


NETWORKS = dict(networks())
FEW = ("softmax", "shifted_window", "tome", "dual", "bridge")


def config_of(genotype, **more):
    return make_config(genotype, name="x", image_size=16, in_chans=3, classes=DATA["class_names"], **more)


@pytest.fixture
def run(make_campaign, tmp_path):
    """Four trials, of which 0, 1 and 2 are the front; trial 1 has kept weights, trial 3 has failed."""
    values = [(0.7, 1.0), (0.85, 2.0), (0.9, 4.0), None]
    trials = [
        Trial(
            number=i, kind="search", name=f"trial {i}", state="failed" if v is None else "complete", genotype=PLAIN,
            hash=PLAIN.hash(), code={}, error="out of memory" if v is None else None,
            values={} if v is None else {"accuracy": v[0], "macs_g": v[1]},
            checkpoint="checkpoints/trial-0001.safetensors" if i == 1 else None,
        )
        for i, v in enumerate(values)
    ]  # fmt: skip
    (tmp_path / "checkpoints").mkdir()
    save_file(config_of(PLAIN).build(seed=5).state_dict(), tmp_path / "checkpoints/trial-0001.safetensors")
    environment = {"data": DATA, "versions": {"vitnas": "0.1.0"}, "device": "cpu"}
    return Run(path=tmp_path, campaign=make_campaign(), environment=environment, trials=tuple(trials))


def test_every_family_has_a_network_here():
    assert {*MIXERS, *REDUCERS, *POSITIONS, *LOCALS} <= set(NETWORKS)
    assert set(NORMS) == {"layer", "batch", "group", "none"}
    assert len(NETWORKS) > 20


@pytest.mark.parametrize("name", NETWORKS)
def test_config_comes_back_unchanged(name, tmp_path):
    config = config_of(NETWORKS[name], mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], notes=("a note: with a colon",))
    assert read_config(save_config(config, tmp_path / "a.yaml")) == config
    assert config.network == NETWORKS[name]


def test_config_builds_the_network_that_was_trained(run):
    path = export_trials(run, [run.trials[1]], ("config",), run.path / "export")[-1]
    expected = config_of(PLAIN).build(seed=5).eval()
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(search_spaces.load(path).eval()(images), expected(images))
    assert yaml.safe_load(path.read_text())["measured"]["values"] == {"accuracy": 0.85, "macs_g": 2.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"a.yaml:2: written by a newer vitnas \(version 2\); this one reads up to 1"),
        ({"clases": ["a"]}, "a.yaml:.*unknown key 'clases'; did you mean 'classes'"),
        ({"format": "other"}, "not an architecture file"),
        ({"classes": "cat"}, "a.yaml:.*classes: expected a list of class names, found 'cat'"),
        ({"input": {"image_size": 16, "in_chans": 3, "mean": [0.0], "std": [1.0]}}, "input.mean: expected 3 numbers"),
        ({"genotype": {**PLAIN.to_json(), "topology": "flat"}}, "genotype.topology: unknown topology 'flat'"),
        ({"genotype": PLAIN.with_stage(0, a=Atom("softmaxx")).to_json()}, "unknown mixer 'softmaxx'; did you mean"),
        ({"genotype": PLAIN.with_stage(0, a=Atom("bixt", given=True)).to_json()}, "a.yaml:.*: given follows from the"),
    ],
)
def test_a_wrong_config_is_refused_in_one_line(change, message, tmp_path):
    data = config_of(PLAIN).model_dump(mode="json") | change
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(UserError, match=message) as error:
        read_config(path)
    assert "\n" not in str(error.value)


def test_config_never_runs_code(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("format: !!python/object/apply:os.system ['touch owned']\n")
    with pytest.raises(UserError, match="not valid YAML"):
        read_config(path)


@pytest.mark.parametrize("name", NETWORKS)
def test_plain_file_computes_the_same_and_knows_nothing_of_ours(name):
    config = config_of(NETWORKS[name])
    network = config.build(seed=1).eval()
    source = torch_source(network, config)
    plain = run_alone(source)
    plain.load_state_dict(network.state_dict())
    images = example_images(config, batch=3)
    assert (plain.eval()(images) - network(images)).abs().max() <= 1e-6
    assert imported(source) <= {"torch", "PIL", "safetensors", *sys.stdlib_module_names}


def run_alone(source):
    namespace = {"__name__": "plain"}
    exec(compile(source, "plain.py", "exec"), namespace)
    return namespace["build_model"]()


def imported(source):
    nodes = list(ast.walk(ast.parse(source)))
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    return {n.partition(".")[0] for n in names + [n.module for n in nodes if isinstance(n, ast.ImportFrom)]}


def test_plain_files_carry_no_costs_and_pass_the_linter(tmp_path):
    for i, genotype in enumerate(NETWORKS.values()):
        config = config_of(genotype)
        (tmp_path / f"{i}.py").write_text(torch_source(config.build(), config))
    text = "".join(p.read_text() for p in tmp_path.iterdir())
    assert not re.search(r"def cost\(|About\(|\.register\(|ClassVar|Registry", text)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F", "--ignore", "E501"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_plain_file_classifies_a_picture_where_we_are_not_installed(run):
    export_trials(run, [run.trials[1]], ("torch",), run.path / "export")
    Image.fromarray(np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)).save(run.path / "a.png")
    block = "sys.modules.update(nas=None, search_spaces=None, evaluators=None); sys.argv[:] = sys.argv[1:]"
    code = f"import sys, runpy; {block}; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-I", "-c", code, "export/trial-0001.py", "a.png"]
    done = subprocess.run(command, cwd=run.path, capture_output=True, text=True)
    shares = [float(line.split("%")[0]) for line in done.stdout.splitlines()]
    assert len(shares) == 3, done.stderr
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_same_names_in_different_modules_do_not_clash(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, value in (("clash_one", 1), ("clash_two", 2)):
        (tmp_path / f"{name}.py").write_text(CLASHING.format(title=name.title().replace("_", ""), value=value))
    one, two = import_module("clash_one").ClashOne, import_module("clash_two").ClashTwo
    extract = Extract(Needs([one, two], {"clash_one", "clash_two"}, {}), reserved=("CONSTANT",))
    namespace = {}
    exec(f"{write_imports(extract.needs.imports)}\n{extract.render()}", namespace)
    assert [namespace[extract.name(cls)]().value() for cls in (one, two)] == [11, 12]


CLASHING = """from torch import nn

class {title}(nn.Module):
    def value(self):
        return _helper() + CONSTANT

    def unused(self):
        return None

    def forward(self, x):
        return self.value()

def _helper():
    return _inner()

def _inner():
    return {value}

CONSTANT = 10
"""


@pytest.mark.parametrize("name", [n if n in FEW else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS])
def test_onnx_runtime_agrees(name, tmp_path):
    import onnx
    import onnxruntime

    config = config_of(NETWORKS[name], mean=DATA["mean"], std=DATA["std"])
    network = config.build(seed=1).eval()
    assert write_onnx(network, config, tmp_path / "a.onnx") <= 1e-4
    images = example_images(config, batch=5)
    found = onnxruntime.InferenceSession(tmp_path / "a.onnx").run(["logits"], {"image": images.numpy()})[0]
    assert np.abs(found - network(images).detach().numpy()).max() <= 1e-4
    facts = {p.key: p.value for p in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert json.loads(facts["vitnas.classes"]) == DATA["class_names"]
    assert json.loads(facts["vitnas.std"]) == DATA["std"]


def test_onnx_says_what_it_cannot_write(tmp_path, monkeypatch):
    config = config_of(PLAIN)
    network = config.build()
    monkeypatch.setattr(type(network), "forward", lambda self, x: torch.linalg.eigvals(x[:, 0]).real)
    with pytest.raises(UserError, match="x: cannot be written as ONNX: ") as error:
        write_onnx(network, config, tmp_path / "a.onnx")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_no_numbers_are_not_written(tmp_path):
    config = config_of(PLAIN)
    network = config.build()
    torch.nn.init.constant_(network.head.fc.weight, float("nan"))
    for write, name in ((write_torch, "a.py"), (write_onnx, "a.onnx")):
        with pytest.raises(UserError, match="nan"):
            write(network, config, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    config = config_of(PLAIN)
    network = config.build()
    monkeypatch.setattr(type(network), "features", lambda self, x: 2 * self.stem(x))
    with pytest.raises(UserError, match="differs from the network by"):
        write_torch(network, config, tmp_path / "a.py")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("best", [2]), ("all", [0, 1, 2]), ("trial:3", [3]), ("trial:0003", [3]), ("macs_g<=2", [1]),
        ("macs_g <= 3, accuracy >= 0.6", [1]), ("macs_g<1.5", [0]), ("trial:0,best", [0, 2]), ("knee", [1]),
    ],
)  # fmt: skip
def test_selection(run, text, numbers):
    assert [t.number for t in select(run, text)] == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kne", "unknown choice 'kne'; did you mean 'knee'"),
        ("trial:9", "no trial '9' in .*; it has trials 0 to 3"),
        ("latency_s<=2", "unknown metric 'latency_s'; did you mean 'latency_ms'"),
        ("latency_ms<=2", "no front member keeps latency_ms <= 2; latency_ms was not measured"),
        ("macs_g<=0.5", "no front member keeps macs_g <= 0.5; its macs_g is 1 to 4"),
        ("macs_g=2", "cannot read 'macs_g=2'; write for example"),
        (" , ", "nothing named; choices: knee"),
    ],
)
def test_selection_that_finds_nothing_says_what_there_is(run, text, message):
    with pytest.raises(UserError, match=message):
        select(run, text)


def test_an_empty_front_is_said(run):
    with pytest.raises(UserError, match="the front is empty"):
        select(replace(run, trials=run.trials[3:]), "knee")


def test_untrained_trials_are_said_and_marked_in_every_file(run, capsys):
    paths = export_trials(run, [run.trials[3]], ("config", "torch", "onnx"), run.path / "export")
    assert capsys.readouterr().err.startswith("warning: trial 3 kept no weights (failed: out of memory")
    assert [p.suffix for p in paths] == [".safetensors", ".yaml", ".py", ".onnx"]
    assert "UNTRAINED" in paths[2].read_text().partition('"""\n')[0]
    assert "UNTRAINED" in read_config(paths[1]).notes[0]
    assert "out of memory" in read_config(paths[1]).notes[-1]
    assert b"UNTRAINED" in paths[3].read_bytes()


def test_trained_weights_are_exported_as_they_are(run):
    paths = export_trials(run, [run.trials[1]], ("torch",), run.path / "out")
    found, kept = load_file(paths[0]), load_file(run.path / run.trials[1].checkpoint)
    assert all(torch.equal(found[k], kept[k]) for k in kept)
    assert "UNTRAINED" not in paths[1].read_text()


def test_export_works_on_a_campaign_that_is_still_running(make_campaign, tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append("session", campaign=make_campaign().model_dump(mode="json"), environment={"data": DATA})
        who = {"trial": 0, "kind": "search", "name": "trial 0"}
        journal.append("started", **who, genotype=PLAIN.to_json(), hash=PLAIN.hash(), code={}, costs={})
    (path,) = export_run(tmp_path, select="trial:0")
    assert path == tmp_path / "export" / "trial-0000.yaml"
    assert read_config(path).network == PLAIN


def test_unknown_formats_and_folders_are_refused(run, tmp_path):
    with pytest.raises(UserError, match="--to: unknown format 'onxx'; did you mean 'onnx'"):
        export_trials(run, [run.trials[0]], ("onxx",), tmp_path)
    with pytest.raises(UserError, match="not a run folder"):
        export_run(tmp_path / "nothing")
    with pytest.raises(UserError, match="says nothing about its data"):
        trial_config(run.trials[0], replace(run, environment={}))


def test_neighbouring_equal_blocks_become_a_loop():
    config = config_of(PLAIN.with_stage(0, depth=6))
    source = torch_source(config.build(), config)
    assert "for _ in range(6)" in source
    assert len(source.splitlines()) == len(torch_source(config_of(PLAIN).build(), config_of(PLAIN)).splitlines())


def test_pairs_of_mixers_take_turns_in_the_plain_file():
    genotype = PLAIN.with_stage(0, depth=4, a=Atom("window", divisions=2), b=Atom("softmax"))
    config = config_of(genotype)
    calls = re.findall(r"cores=\[(\w+)\(", torch_source(config.build(), config))
    assert [len(list(g)) for _, g in itertools.groupby(calls)] == [1, 1, 1, 1]
