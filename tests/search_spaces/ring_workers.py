"""What processes of a ring do in test_ring.py: each compares its part with the whole computed alone, and notes it."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor

from nas.genotype import Atom, Genotype, Stage
from search_spaces.mixers import MIXERS
from search_spaces.model import build
from search_spaces.ring import RingBroken, ring_attention, sequence_parallel, shard_lengths

SIZES = (1, 2, 3, 4)
Errors = dict[str, float]

PLAIN = Genotype(
    topology="plain", stem=Atom("patch", size=4), position=Atom("learned"), cls_token=True, registers=2,
    head=Atom("cls"), stages=(Stage(width=16, depth=3, head_dim=8, ffn=Atom("mlp", ratio=2), layer_scale=0.5),),
)  # fmt: skip
MIXED = Genotype(
    topology="pyramid", stem=Atom("patch", size=2), position=Atom("conditional"),
    reduction=Atom("evit", keep=0.5, at=0.5),
    stages=(
        Stage(width=16, depth=2, head_dim=8, ffn=Atom("mix", ratio=2), a=Atom("softmax")),
        Stage(width=16, depth=3, head_dim=4, ffn=Atom("mlp", ratio=2), a=Atom("softmax"), b=Atom("efficient"),
              mode="headmix", share=0.5, tail=2, down=Atom("patch")),
        Stage(width=16, depth=4, head_dim=8, ffn=Atom("mlp", ratio=2), a=Atom("softmax"), down=Atom("patch")),
    ),
)  # fmt: skip
RECALLING = [kind for kind in MIXERS if MIXERS[kind].recalls in {"scores", "output"}]


def recalling(kind: str) -> Genotype:
    """Blocks that take over what softmax attention of the block before left, which is of all tokens."""
    stage = Stage(width=16, depth=3, head_dim=8, ffn=Atom("mlp", ratio=2), a=Atom("softmax"), b=Atom(kind))
    return replace(PLAIN, stages=(stage,), cls_token=False, registers=0, head=Atom("pool"))


def launch(folder: Path, size: int = max(SIZES), seconds: float = 120) -> list[dict[str, Any]]:
    """The notes of every process."""
    processes = mp.spawn(work, (size, folder), nprocs=size, join=False)
    end = time.monotonic() + seconds
    while not processes.join(timeout=1):
        assert time.monotonic() < end, "the processes hang"
    return [torch.load(folder / f"notes-{rank}.pt") for rank in range(size)]


def work(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size, timeout=timedelta(seconds=60)
    )
    notes: dict[Any, Any] = {}
    for members in SIZES:
        group = dist.new_group(range(members))
        for name, case in CASES.items():
            if rank < members:
                notes[name, members] = case(group)
    notes["late"], notes["late seconds"] = one_is_late(rank)
    dist.barrier()
    if rank == size - 1:
        torch.save(notes, folder / f"notes-{rank}.pt")
        os._exit(0)
    notes["dead"], notes["dead seconds"] = failure(None)
    torch.save(notes, folder / f"notes-{rank}.pt")
    os._exit(0)


def one_is_late(rank: int) -> tuple[str, float]:
    """Process 1 does not come within the time limit of the group."""
    pair = dist.new_group([0, 1], timeout=timedelta(seconds=1))
    return failure(pair) if rank == 0 else ("", 0.0)


def failure(group: Any) -> tuple[str, float]:
    start, x = time.monotonic(), torch.randn(1, 2, 8, 4)
    try:
        ring_attention(x, x, x, group, lengths=[8] * dist.get_world_size(group))
    except RingBroken as error:
        return str(error), time.monotonic() - start
    return "", time.monotonic() - start


def attention(
    group: Any,
    dtype: torch.dtype = torch.float64,
    queries: int = 17,
    keys: int = 17,
    value_dim: int = 8,
    autocast: bool = False,
) -> Errors:
    """Largest differences from fused attention over the whole sequence."""
    size, rank = dist.get_world_size(group), dist.get_rank(group)
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, queries, 8), (2, 3, keys, 8), (2, 3, keys, value_dim), (2, 3, queries, value_dim)]
    q, k, v, weight = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    whole = [t.clone().requires_grad_() for t in (q, k, v)]
    expected = F.scaled_dot_product_attention(*whole)
    (expected * weight).sum().backward()

    def own(t: Tensor) -> Tensor:
        return t.tensor_split(size, dim=2)[rank]

    mine = [own(t).clone().requires_grad_() for t in (q, k, v)]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = ring_attention(*mine, group, block=5)
        (out * own(weight)).sum().backward()
    found = {"out": difference(out, own(expected))}
    for name, part, full in zip(("dq", "dk", "dv"), mine, whole, strict=True):
        found[name] = difference(part.grad, own(full.grad))
    return found


def half(group: Any) -> Errors:
    """Uniform weights over 1024 keys, 5 at a time: sums in bfloat16 would stop growing at 256."""
    size, rank, keys = dist.get_world_size(group), dist.get_rank(group), 1024
    q, k = torch.zeros(1, 1, 3, 8).bfloat16(), torch.zeros(1, 1, shard_lengths(keys, size)[rank], 8).bfloat16()
    v = torch.ones_like(k).requires_grad_()
    out = ring_attention(q, k, v, group, block=5)
    out.sum().backward()
    return {"out": difference(out, torch.ones_like(out)), "dv": difference(v.grad * keys, torch.full_like(v, 3 * size))}


def outlier(group: Any) -> Errors:
    """One key of the last process draws all weight, however large its score."""
    size, rank = dist.get_world_size(group), dist.get_rank(group)
    q, k, v = torch.ones(1, 1, 4, 8), torch.zeros(1, 1, 6, 8), torch.rand(1, 1, 6, 8)
    if rank == size - 1:
        k[:, :, 3], v[:, :, 3] = 1e4, 7.0
    return {"out": difference(ring_attention(q, k, v, group, block=4), torch.full((1, 1, 4, 8), 7.0))}


def network(group: Any, genotype: Genotype, dtype: torch.dtype = torch.float64, autocast: bool = False) -> Errors:
    """Logits, gradients of pictures and of every parameter, in training with stochastic depth."""
    found: list[dict[str, Tensor]] = []
    for spread in (False, True):
        net = build(genotype, image_size=(20, 28), classes=5, drop_path=0.2, seed=1).to(dtype)
        if spread:
            sequence_parallel(net, group, block=6)
        torch.manual_seed(3)
        pictures = torch.randn(2, 3, 20, 28, dtype=dtype, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = net(pictures)
        logits.logsumexp(1).sum().backward()
        gradients = {name: p.grad for name, p in net.named_parameters()}
        found.append({"logits": logits, "pictures": pictures.grad, **gradients})
    return {name: difference(found[1][name], value) for name, value in found[0].items()}


def difference(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape, f"{found.shape} is not {expected.shape}"
    assert found.dtype == expected.dtype
    return (found.double() - expected.double()).abs().max().item() if found.numel() else 0.0


CASES: dict[str, Callable[[Any], Errors]] = {
    "even": lambda group: attention(group, queries=12, keys=12),
    "uneven": attention,
    "fewer tokens than processes": lambda group: attention(group, queries=3, keys=3),
    "other keys": lambda group: attention(group, queries=7, keys=22, value_dim=6),
    "float32": lambda group: attention(group, torch.float32),
    "autocast": lambda group: attention(group, torch.float32, autocast=True),
    "half": half,
    "outlier": outlier,
    "plain network": lambda group: network(group, PLAIN),
    "mixed network": lambda group: network(group, MIXED),
    **{f"softmax and {kind}": lambda group, kind=kind: network(group, recalling(kind)) for kind in RECALLING},
    "network in mixed precision": lambda group: network(group, PLAIN, torch.float32, autocast=True),
}
