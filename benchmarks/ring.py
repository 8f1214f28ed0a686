"""Time and peak memory over long sequences, of one attention and of a plain ViT: fused, unfused, blockwise, as a ring.

Every figure comes from fresh processes of one thread each. Memory is what a process's peak rises above where it was
before the first call, gradients of inputs and parameters included.

    python benchmarks/ring.py --tokens 4096 16384 --heads 1 --clock cpu --json ring.json
"""

import argparse
import json
import math
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn

from nas.genotype import Atom, Genotype, Stage
from search_spaces.model import build
from search_spaces.ring import blockwise_attention, ring_attention, sequence_parallel, shard_lengths

HEAD_DIM, DEPTH, PATCH = 64, 6, 4
Call = Callable[[], Tensor]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}  # the second where other jobs share the machine


def unfused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * q.shape[3] ** -0.5).softmax(dim=3) @ v


def alike(network: nn.Module) -> nn.Module:
    return network


# name -> what runs, over how many processes. The first four are attentions, the rest run a network.
METHODS: dict[str, tuple[Callable[..., Any], int]] = {
    "fused": (F.scaled_dot_product_attention, 1),
    "unfused": (unfused, 1),
    "blockwise": (blockwise_attention, 1),
    "ring": (ring_attention, 2),
    "network": (alike, 1),
    "network, ring": (sequence_parallel, 2),
}


def main() -> None:
    options = _options()
    rows = []
    for tokens in options.tokens:
        for name, (_, processes) in METHODS.items():
            if options.device == "cuda" and processes > torch.cuda.device_count():
                continue
            rows.append({"tokens": tokens, "method": name, "processes": processes} | measure(name, tokens, options))
            print("  ".join(f"{key} {value:<13}" for key, value in rows[-1].items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "heads": options.heads, "rows": rows}) + "\n")


def measure(name: str, tokens: int, options: argparse.Namespace) -> dict[str, int]:
    """Of the process that took longest or held most."""
    processes = METHODS[name][1]
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_process, (name, tokens, options, Path(folder)), nprocs=processes)
        found = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(processes)]
    return {key: round(max(figures[key] for figures in found)) for key in found[0]}


def _process(rank: int, name: str, tokens: int, options: argparse.Namespace, folder: Path) -> None:
    torch.set_num_threads(1)
    processes = METHODS[name][1]
    device = torch.device("cuda", rank) if options.device == "cuda" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if processes > 1:
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=f"file://{folder}/store", rank=rank, world_size=processes)
    _prepare(name, 64, 1, rank, device)().sum().backward()  # what the libraries take once
    call = _prepare(name, tokens, options.heads, rank, device)
    start = _peak_bytes(device)
    call().sum().backward()
    figures = {"peak_mb": (_peak_bytes(device) - start) / 2**20}
    figures["forward_ms"] = _milliseconds(torch.no_grad()(call), options, device)
    figures["both_ms"] = _milliseconds(lambda: call().sum().backward(), options, device)
    (folder / f"{rank}.json").write_text(json.dumps(figures))
    if processes > 1:
        dist.destroy_process_group()


def _prepare(name: str, tokens: int, heads: int, rank: int, device: torch.device) -> Call:
    """One forward pass of a method, its inputs made beforehand."""
    method, processes = METHODS[name]
    if name.startswith("network"):
        side = math.isqrt(tokens) * PATCH
        stage = Stage(width=heads * HEAD_DIM, depth=DEPTH, head_dim=HEAD_DIM)
        genotype = Genotype(topology="plain", stem=Atom("patch", size=PATCH), stages=(stage,), position=Atom("learned"))
        network = method(build(genotype, image_size=side).to(device))
        picture = torch.randn(1, 3, side, side, device=device)
        return lambda: network(picture)
    shape = (1, heads, shard_lengths(tokens, processes)[rank], HEAD_DIM)
    inputs = [torch.randn(shape, device=device, requires_grad=True) for _ in range(3)]
    return lambda: method(*inputs)


def _milliseconds(call: Callable[[], Any], options: argparse.Namespace, device: torch.device) -> float:
    """The best of several turns."""
    times, clock = [], CLOCKS[options.clock]
    for _ in range(options.turns):
        start = clock()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - start)
    return min(times) * 1e3


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tokens", type=int, nargs="+", default=[4096, 16384])
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
