"""Probe: one network, real mini-batches and the passes that several scores share."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from evaluators.zero_cost.base import Batch, ScoreFailed, Subject
from evaluators.zero_cost.channels import observing
from evaluators.zero_cost.lending import lent
from evaluators.zero_cost.shared import Shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A weight by its absolute values, and the gradient of the summed output with respect to it."""

    weight: Tensor
    gradient: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Of the mean cross-entropy over one mini-batch: its gradient by weight, and Fisher information by layer."""

    gradients: dict[str, Tensor]
    fisher: float


class Probe:
    """What a score may ask of a network. Every pass is made at most once and leaves the network as it was.

    Scores on data see the network in training mode, as its training would begin: batch norms take the statistics of
    the mini-batch. Scores without data see it in evaluation mode.
    """

    def __init__(self, subject: Subject, batches: Sequence[Batch], *, seed: int, device: torch.device | str) -> None:
        self.subject, self.seed, self.device = subject, seed, torch.device(device)
        self.shared = Shared()
        self._batches = batches

    @property
    def network(self) -> nn.Module:
        return self.shared.get("network", lambda: self.subject.make(self.seed).to(self.device))

    @property
    def batches(self) -> list[Batch]:
        return self.shared.get("batches", lambda: [(x.to(self.device), y.to(self.device)) for x, y in self._batches])

    @property
    def images(self) -> Tensor:
        """Those of all mini-batches together."""
        return self.shared.get("images", lambda: torch.cat([x for x, _ in self.batches]))

    @property
    def weights(self) -> dict[str, Tensor]:
        """The matrices of linear layers and the kernels of convolutions, which the scores were defined on."""
        layers = {n: m for n, m in self.network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
        if not layers:
            raise ScoreFailed("no linear layer and no convolution")
        return {f"{name}.weight".lstrip("."): layer.weight for name, layer in layers.items()}

    @property
    def slopes(self) -> list[Slope]:
        """One for each mini-batch."""
        return self.shared.get("slopes", lambda: [self._slope(x, y) for x, y in self.batches])

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Averaged over the mini-batches: but for batch norms, the gradient over all images."""
        return self.shared.get("gradients", self._mean_gradients)

    @property
    def flow(self) -> dict[str, Flow]:
        """By weight: an image of ones through the absolute values of all parameters."""
        return self.shared.get("flow", self._flow)

    def lent(self, *, training: bool = True) -> AbstractContextManager[nn.Module]:
        return lent(self.network, training=training, seed=self.seed)

    def _slope(self, x: Tensor, y: Tensor) -> Slope:
        weights = self.weights
        with self.lent() as network, observing(network, images=len(x)) as channels:
            loss = F.cross_entropy(network(x), y)
            gradients = _gradients(loss, list(weights.values()))
        return Slope(gradients=dict(zip(weights, gradients, strict=True)), fisher=channels.information())

    def _mean_gradients(self) -> dict[str, Tensor]:
        return {n: torch.stack([s.gradients[n] for s in self.slopes]).mean(dim=0) for n in self.weights}

    def _flow(self) -> dict[str, Flow]:
        weights = self.weights
        with self.lent(training=False) as network:
            positive = {n: p.detach().abs().requires_grad_() for n, p in network.named_parameters()}
            total = functional_call(network, positive, (torch.ones_like(self.images[:1]),)).sum()
            gradients = _gradients(total, [positive[n] for n in weights])
        pairs = zip(weights, gradients, strict=True)
        return {n: Flow(weight=positive[n].detach(), gradient=gradient) for n, gradient in pairs}


def _gradients(value: Tensor, of: list[Tensor]) -> list[Tensor]:
    """Zero where a weight has no part in the value."""
    found = torch.autograd.grad(value, of, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(of, found, strict=True)]
