"""The packages' public names: the words of the command line, importable, and nothing heavy until they are used."""

import importlib
import subprocess
import sys

import pytest

import search_spaces
from nas.errors import UserError


@pytest.mark.parametrize("package", ["nas", "search_spaces", "evaluators"])
def test_every_public_name_can_be_imported(package):
    module = importlib.import_module(package)
    assert module.__all__
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError):
        _ = module.no_such_name


def test_importing_modules_does_not_replace_the_words():
    script = (
        "import nas, nas.session, nas.reporting, nas.exporting, nas.retraining, nas.description, nas.listing\n"
        "from nas import search, report, export, train, show, sample\n"
        "print(all(callable(f) for f in (search, report, export, train, show, sample, nas.list)))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "True"


def test_the_packages_themselves_import_no_torch():
    script = "import sys, nas, search_spaces, evaluators, nas.campaign\nprint('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_build_takes_a_genotype_a_config_and_its_path(tmp_path):
    from nas.architecture import make_config, read_config, save_config

    genotype = search_spaces.ZOO["deit_mini"].build(8)
    config = make_config(genotype, name="mini", image_size=8, in_chans=1, classes=("a", "b"))
    path = save_config(config, tmp_path / "mini.yaml")
    sizes = {
        sum(p.numel() for p in network.parameters())
        for network in (
            search_spaces.build(genotype, image_size=8, in_chans=1, classes=2),
            search_spaces.build(read_config(path)),
            search_spaces.build(path),
        )
    }
    assert len(sizes) == 1
    with pytest.raises(UserError, match="names no weights"):
        search_spaces.load(path)
