"""One mechanism beside fused attention in a process of its own: time forward and with backward, and peak memory.

The child of benchmarks/mechanisms.py: case and settings as JSON on the command line, the figures as JSON on stdout.
"""

import contextlib
import ctypes
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mechanism_cases import Case, make_layer
from torch import Tensor, nn

from evaluators.latency.measure import LatencySettings, interleave


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """seconds: for the forward passes of one case, and again for those with backward; three rounds at the least."""

    device: str = "cpu"
    threads: int = 2
    rounds: int = 15
    seconds: float = 8.0
    compile: bool = False
    bfloat16: bool = False


def measure(case: Case, settings: Settings) -> dict[str, Any]:
    """Milliseconds of a batch for the mechanism and for fused attention (medians), peak megabytes of training."""
    torch.set_num_threads(settings.threads)
    layer, x = _ready(case, settings)
    with _precision(settings):
        memory = peak_memory_mb(lambda: train_once(layer, x), x.device)
        fused, _ = _ready(replace(case, family="mixer", atom="softmax"), settings)
        forward = _medians({"forward": layer, "fused_forward": fused}, x, _forward, settings)
        both = _medians({"both": layer, "fused_both": fused}, x, train_once, settings)
    return {**forward, **both, "memory_mb": memory}


def _ready(case: Case, settings: Settings) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layer = make_layer(case).to(settings.device)
    x = torch.randn(case.batch, case.length, case.dim).to(settings.device).requires_grad_()
    return (torch.compile(layer) if settings.compile else layer), x  # type: ignore[return-value]


def _medians(
    layers: dict[str, nn.Module], x: Tensor, call: Callable[[nn.Module, Tensor], None], settings: Settings
) -> dict[str, float]:
    """Milliseconds, the layers taking turns in an order drawn afresh for every round."""
    timing = LatencySettings(rounds=settings.rounds, warmup=3, seconds=settings.seconds)
    times = interleave({name: _timer(call, layer, x) for name, layer in layers.items()}, timing, seed=0)
    return {name: round(median(ms), 4) for name, ms in times.items()}


def _timer(call: Callable[[nn.Module, Tensor], None], layer: nn.Module, x: Tensor) -> Callable[[], float]:
    def timed() -> float:
        _wait(x.device)
        start = time.perf_counter()
        call(layer, x)
        _wait(x.device)
        return 1e3 * (time.perf_counter() - start)

    return timed


def _forward(layer: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        layer.eval()(x)


def train_once(layer: nn.Module, x: Tensor) -> None:
    """Forward and backward, to the input and to every parameter."""
    layer.train()(x).sum().backward()
    for tensor in (x, *layer.parameters()):
        tensor.grad = None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _precision(settings: Settings) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(settings.device, torch.bfloat16, enabled=settings.bfloat16)


def peak_memory_mb(call: Callable[[], Any], device: torch.device) -> float | None:
    """What one call takes at most beyond what was there; on a CPU by the resident set. None where that is unknown."""
    call()  # libraries load and threads start
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        call()
        return round((torch.cuda.max_memory_allocated(device) - held) / 2**20, 2)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        before = _status_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is resident now
        call()
        return round(max(0.0, _status_mb("VmHWM") - before), 2)
    return None


def _status_mb(key: str) -> float:
    """A line of /proc/self/status, which counts in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return float(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {key}")


if __name__ == "__main__":
    print(json.dumps(measure(Case(**json.loads(sys.argv[1])), Settings(**json.loads(sys.argv[2])))))
