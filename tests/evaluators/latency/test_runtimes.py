"""What executes a network gives the same logits, and says clearly what it cannot do."""

import shutil
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from evaluators.latency import runtimes
from evaluators.latency.conditions import RUNTIMES, conditions_here
from evaluators.latency.runtimes import check_runnable, prepare
from nas.errors import UserError
from search_spaces.model import build
from search_spaces.zoo import ZOO

HERE = conditions_here("cpu", image_size=8, in_chans=1)


def mini() -> nn.Module:
    return build(ZOO["deit_mini"].build(8), image_size=8, in_chans=1, classes=3, seed=0).eval()


def test_every_runtime_that_conditions_name_is_there():
    assert set(runtimes.PREPARE) == set(RUNTIMES)


def test_eager_is_the_network_itself_and_takes_the_number_format():
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        expected = mini()(images)
        half = prepare(mini(), images, replace(HERE, dtype="bfloat16"))()
        assert torch.equal(prepare(mini(), images, HERE)(), expected)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.05, rtol=0.1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx_runtime_gives_the_same_logits():
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        expected = mini()(images)
    found = prepare(mini(), images, replace(HERE, runtime="onnxruntime"))()[0]
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_many_networks_of_one_class_are_all_compiled():
    class Scale(nn.Module):
        def __init__(self, factor: float):
            super().__init__()
            self.factor, self.eager_calls = factor, 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.compiler.is_compiling():
                self.eager_calls += 1
            return x.sin() * self.factor

    images = torch.randn(1, 1, 2, 2)
    networks = [Scale(float(i)) for i in range(3)]
    with torch.inference_mode(), torch._dynamo.config.patch(recompile_limit=1):  # for one piece of code
        runs = [prepare(network, images, replace(HERE, runtime="compile")) for network in networks]
        torch.testing.assert_close(runs[2](), images.sin() * 2)
    assert [network.eager_calls for network in networks] == [0] * 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runtime": "onnxruntime", "dtype": "bfloat16"}, "bfloat16 is not supported; choose float32 or float16"),
        ({"kind": "cuda"}, "PyTorch sees no GPU here; use cpu"),
    ],
)
def test_what_cannot_run_here_is_one_clear_line(change, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=words):
        check_runnable(replace(HERE, **change), "cuda:0")


def test_a_gpu_that_is_not_there_is_named_with_those_that_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="device cuda:2: there are cuda:0, cuda:1"):
        check_runnable(replace(HERE, kind="cuda"), "cuda:2")
    check_runnable(replace(HERE, kind="cuda"), "cuda:1")


def test_a_missing_onnx_runtime_is_said(monkeypatch):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install onnxruntime"):
        check_runnable(replace(HERE, runtime="onnxruntime"), "cpu")
    assert "onnxruntime" not in vars(sys.modules["evaluators.latency.runtimes"])
