"""Energy of networks and of trials: from the hardware's counters where there are any, else from time and power."""

import torch
from torch import nn

from evaluators.energy import PowerMeter, estimate_energy, make_meter, measure_energy
from nas.campaign import Campaign


class TrialEnergy:
    """Joules that trials take, read around them. Trials that share the device share what it counts, in equal parts."""

    def __init__(self, device: str, campaign: Campaign) -> None:
        meter, settings = make_meter(device), campaign.execution
        self._meter = None if isinstance(meter, PowerMeter) else meter
        self._sharers = 1 / settings.gpus if device.startswith("cuda") and settings.gpus else settings.workers
        self.begin()

    def begin(self) -> None:
        self._start = self._meter.joules() if self._meter else 0.0

    def joules(self) -> float | None:
        """Since `begin`; None where nothing counts. Ask every few minutes, since counters start again from 0."""
        return (self._meter.joules() - self._start) / self._sharers if self._meter else None


def energy_of(network: nn.Module, images: torch.Tensor, latency_ms: float, campaign: Campaign) -> tuple[float, bool]:
    """(mJ of one forward pass, whether it was counted); without a counter the latency times the device's power."""
    device, settings = str(images.device), campaign.latency
    meter = make_meter(device, threads=settings.threads, watts=settings.watts)
    if isinstance(meter, PowerMeter):
        return estimate_energy(latency_ms, meter).mj, False
    mode = network.training
    with torch.inference_mode():
        found = measure_energy(lambda: _run(network.eval(), images), meter)
    network.train(mode)
    return found.mj, True


def _run(network: nn.Module, images: torch.Tensor) -> None:
    """One forward pass that has ended when this returns."""
    network(images)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
