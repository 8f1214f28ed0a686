"""What is said to compile and to be written as ONNX was tried; what cannot, says why."""

import json
from pathlib import Path

import pytest
import torch
from mechanism_support import _tried, compile_it, components, example, export_it, support_rows, try_out
from torch import Tensor, nn

from nas.errors import UserError

RECORD = Path(__file__).parents[2] / "docs" / "mechanisms.json"
SAMPLE = [("mixer", "efficient"), ("ffn", "mix"), ("reducer", "evit")]
COMPONENTS = components()


class Branching(nn.Module):
    """Decides by the data, which neither a graph nor a file can hold."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


@pytest.mark.parametrize(("family", "kind"), SAMPLE)
def test_a_sample_compiles_and_is_written_as_recorded(family: str, kind: str) -> None:
    found = try_out(family, kind, backend="aot_eager")
    assert found == {"compile": "yes", "onnx": "yes"}
    rows = json.loads(RECORD.read_text())["support"]["rows"] if RECORD.exists() else []
    recorded = [r for r in rows if (r["family"], r["mechanism"]) == (family, kind)]
    assert all({"compile": r["compile"], "onnx": r["onnx"]} == found for r in recorded)


def test_what_depends_on_the_data_is_refused_with_a_reason() -> None:
    x = torch.randn(2, 4, 8)
    for check in (lambda layer, x: compile_it(layer, x, "aot_eager"), export_it):
        assert ":" in _tried(check, Branching(), x)


@pytest.mark.parametrize(("family", "kind"), COMPONENTS, ids=[f"{f}-{k}" for f, k in COMPONENTS])
def test_every_component_has_an_example(family: str, kind: str) -> None:
    layer, x = example(family, kind)
    assert torch.isfinite(layer(x)).all()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="unknown mechanism 'softmix'"):
        list(support_rows(["softmix"], "aot_eager"))
