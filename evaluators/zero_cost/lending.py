"""A network lent to a measurement: whatever happens inside, it comes back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def lent(network: nn.Module, *, training: bool, seed: int) -> Iterator[nn.Module]:
    """In one mode, with gradients enabled and its own random numbers; buffers and modes are put back.

    Parameters and their gradients are the borrower's to leave alone: differentiate with torch.autograd.grad.
    """
    modes = {module: module.training for module in network.modules()}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    devices = sorted({p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(seed)
            yield network.train(training)
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])
