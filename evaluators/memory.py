"""Peak memory of a network: one forward pass, or one training step.

Counted at PyTorch's allocator, on the CPU by its profile and on a GPU by its high-water mark: exact and repeatable,
where the resident size of a process holds whatever the libraries have cached. Not in it: PyTorch itself (on a GPU the
CUDA context), and scratch space that a kernel library takes past the allocator.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """mb: peak, weights and images included. phase: inference or training. label: measured or estimated."""

    mb: float
    phase: str
    label: str
    method: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def inference_memory(
    network: nn.Module, images: Tensor, *, run: Callable[[], object] | None = None, label: str = "measured"
) -> Memory:
    """Peak of one forward pass. run: what executes it, when that is not the network itself."""
    with torch.inference_mode():
        call = run or (lambda: network(images))
        call()  # what is allocated once and kept is no part of the peak
        peak = peak_bytes(call, images.device)
    return _memory(peak + _resident(network, images), "inference", label, images.device)


def training_memory(network: nn.Module, images: Tensor) -> Memory:
    """Peak of a training step: forward, backward, AdamW with its state. Weights stay as they are (learning rate 0).

    Raises ValueError when the network does not map images (B, ...) to logits (B, classes).
    """
    modes = {module: module.training for module in network.modules()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0)
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)

    def two_steps() -> None:  # the second has the optimizer's state from its start
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(images).float(), labels).backward()
            optimizer.step()

    try:
        peak = peak_bytes(two_steps, images.device, before=network.train)
    finally:
        network.zero_grad(set_to_none=True)
        for module, mode in modes.items():
            module.training = mode
    return _memory(peak + _resident(network, images), "training", "measured", images.device)


def peak_bytes(run: Callable[[], object], device: torch.device, before: Callable[[], object] = lambda: None) -> int:
    """Most bytes alive at once that `run` allocates, beyond what is there when it begins."""
    before()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        start = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - start)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    assert found.profiler is not None
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    return highest(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))


def highest(changes: Iterable[int]) -> int:
    """The highest running total, at least 0."""
    total = peak = 0
    for change in changes:
        total += change
        peak = max(peak, total)
    return peak


def _resident(network: nn.Module, images: Tensor) -> int:
    tensors = [*network.parameters(), *network.buffers(), images]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def _memory(count: int, phase: str, label: str, device: torch.device) -> Memory:
    way = "high-water mark" if device.type == "cuda" else "profile"
    return Memory(mb=count / MB, phase=phase, label=label, method=f"{way} of PyTorch's allocator")
