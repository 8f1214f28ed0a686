"""Attention over several processes equals attention in one; the processes themselves are in ring_workers.py."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.errors import UserError
from nas.genotype import Genotype
from search_spaces.model import build
from search_spaces.ring import blockwise_attention, ring_attention, sequence_parallel, shard_lengths
from search_spaces.ring.network import stretches
from tests.search_spaces.ring_workers import CASES, MIXED, PLAIN, SIZES, launch

ROOT = Path(__file__).parents[2]
TOLERANCE = {"float32": 1e-5, "autocast": 1e-5, "half": 0.0, "outlier": 0.0, "network in mixed precision": 0.02}
QUICK = 30  # seconds; the time limit of all processes is 60


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    return launch(tmp_path_factory.mktemp("ring"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", CASES)
def test_processes_agree_with_one(notes: list[dict[Any, Any]], case: str, size: int) -> None:
    assert sum((case, size) in note for note in notes) == size
    for note in notes[:size]:
        errors = note[case, size]
        assert max(errors.values()) <= TOLERANCE.get(case, 1e-11), errors


def test_a_dead_process_is_an_error_in_the_others(notes: list[dict[Any, Any]]) -> None:
    for rank, note in enumerate(notes[:-1]):
        assert note["dead"].startswith(f"process {rank} of {len(notes)} lost the others")
        assert note["dead seconds"] < QUICK


def test_a_late_process_is_an_error_after_the_time_limit(notes: list[dict[Any, Any]]) -> None:
    assert notes[0]["late"].startswith("process 0 of 2 lost the others")
    assert 0.5 < notes[0]["late seconds"] < QUICK


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    script = tmp_path / "long.py"
    script.write_text((ROOT / "docs/ring.md").read_text().split("```python\n")[1].split("```")[0])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["step 0", "step 1", "step 2"]


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_of_any_size_change_nothing(block: int) -> None:
    q, k, v = (torch.randn(2, 3, 65, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    expected, found = F.scaled_dot_product_attention(q, k, v), blockwise_attention(q, k, v, block=block)
    torch.testing.assert_close(found, expected)
    weight = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, (q, k, v), weight), torch.autograd.grad(expected, (q, k, v), weight)
    )


def test_gradients_agree_with_finite_differences() -> None:
    inputs = [torch.randn(1, 2, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(lambda q, k, v: blockwise_attention(q, k, v, block=2, scale=0.7), inputs)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.elements = max([self.elements, *(t.numel() for t in tree_leaves(out) if isinstance(t, Tensor))])
        return out


@pytest.mark.parametrize("tokens", [256, 1024])
def test_nothing_grows_with_the_square_of_the_tokens(tokens: int) -> None:
    q, k, v = (torch.randn(1, 2, tokens, 8, requires_grad=True) for _ in range(3))
    with Largest() as largest:
        blockwise_attention(q, k, v, block=32).sum().backward()
    assert largest.elements == 2 * tokens * (8 + 8)  # keys and values side by side


def test_shards_are_even_and_complete() -> None:
    for tokens in range(20):
        expected = tuple(len(part) for part in torch.arange(tokens).tensor_split(3))
        assert shard_lengths(tokens, 3) == expected


@pytest.mark.parametrize(("genotype", "lengths"), [(PLAIN, [[3]]), (MIXED, [[], [2], [1, 1, 2]])])
def test_only_blocks_that_treat_tokens_alone_are_spread(genotype: Genotype, lengths: list[list[int]]) -> None:
    """A Mix-FFN needs neighbours; positions after the first block and token reduction need all tokens in between."""
    stages = build(genotype, image_size=(20, 28), classes=5).stages
    assert [[len(blocks) for blocks in stretches(stage)] for stage in stages] == lengths


def test_one_process_alone_needs_no_group() -> None:
    plain, spread = (build(PLAIN, image_size=16, classes=5, seed=2).eval() for _ in range(2))
    assert sequence_parallel(spread, block=4) is spread
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(spread(x), plain(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda: sequence_parallel(nn.Linear(2, 2)), "no block of this network has plain softmax attention"),
        (lambda: sequence_parallel(sequence_parallel(build(PLAIN, image_size=16))), "already"),
        (lambda: ring_attention(*torch.zeros(3, 1, 1, 4, 2), block=0), "block=0: at least 1"),
        (lambda: ring_attention(*torch.zeros(3, 1, 1, 4, 2), lengths=(3,)), "4 keys here, as process 0 of 1"),
        (lambda: ring_attention(*torch.zeros(3, 1, 1, 4, 2), group="all"), "init_process_group was not called"),
    ],
)
def test_mistakes_are_said(use: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        use()
