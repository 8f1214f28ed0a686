"""A mechanism from another package: the very files of docs/own_mechanism.md, installed and used as a user would."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own_mechanism.md").read_text(encoding="utf-8")
USE = """
import json, sys
from pathlib import Path
import numpy as np
from nas.architecture import make_config
from nas.exporting.onnx_file import write_onnx
from nas.exporting.torch_file import write_torch
from nas.genotype import Atom, Genotype, Stage
from search_spaces import make_space
from search_spaces.model import build as build_network

fix = {"topology": "plain", "plain.mixer_a": "rows(scale=2.0)"}
space = make_space("vit_small", image_size=16, in_chans=3, classes=3, fix=fix)
sampled = space.decode(space.sample(np.random.default_rng(0)))
stage = Stage(width=32, depth=2, head_dim=8, a=Atom("rows", scale=2.0), b=Atom("softmax"), mode="headmix")
genotype = Genotype(topology="plain", stem=Atom("patch", size=4), stages=(stage,))
config = make_config(genotype, name="x", image_size=16, in_chans=3, classes=["a", "b", "c"])
network = build_network(genotype, image_size=16, classes=3)
write_torch(network, config, Path(sys.argv[1]) / "rows.py")
onnx = write_onnx(network, config, Path(sys.argv[1]) / "rows.onnx")
print(json.dumps({"sampled": sampled.mechanisms(), "onnx": onnx}))
"""


def code(language: str, which: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)[which]


def python(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with the packages in `site` installed beside ours."""
    paths = [str(site), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the package of the page."""
    source, target = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(code("toml"))
    (source / "vitnas_rows.py").write_text(code("python"))
    words = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    done = python(target, "-m", "pip", "install", *words, "--target", str(target), str(source))
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """An installed package whose module cannot be imported."""
    (tmp_path / "vitnas_rows.py").write_text("import a_package_that_nobody_has\n")
    info = tmp_path / "vitnas_rows-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vitnas-rows\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[vitnas.mixer]\nrows = vitnas_rows\n")
    return tmp_path


def test_a_mechanism_of_another_package_is_listed(site: Path) -> None:
    done = python(site, "-m", "nas.cli", "list", "mechanisms", "--json")
    assert done.returncode == 0, done.stderr
    [row] = [row for row in json.loads(done.stdout) if row["name"] == "rows"]
    assert (row["arxiv"], row["group"], row["search"]) == ("1912.12180", "windowing", {"scale": [1.0, 2.0]})


def test_its_cost_is_exact_as_the_page_says(site: Path) -> None:
    done = python(site, "-c", code("python", which=1))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_it_is_sampled_built_and_exported(site: Path, tmp_path: Path) -> None:
    done = python(site, "-c", USE, str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert "rows" in found["sampled"]
    assert found["onnx"] < 1e-4
    assert "class RowAttention" in (tmp_path / "rows.py").read_text()
    check = "import rows, sys; rows.build_model(); print({'nas', 'search_spaces', 'vitnas_rows'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_broken_package_is_one_line_that_names_it(broken: Path) -> None:
    done = python(broken, "-m", "nas.cli", "list", "mechanisms")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    words = ("vitnas-rows", "rows = vitnas_rows", "vitnas.mixer", "a_package_that_nobody_has")
    assert all(word in done.stderr for word in words), done.stderr
