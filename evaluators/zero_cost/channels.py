"""What a backward pass says of each channel of each layer, gathered while it passes: activation times gradient."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


class Channels:
    """Fisher information of channels from outputs of linear layers and convolutions."""

    def __init__(self, images: int) -> None:
        self.images = images
        self._sums: list[Tensor] = []

    def hear(self, layer: nn.Module, _args: Any, output: Tensor) -> None:
        """A forward hook. Outputs that do not belong to images, such as of a position table, are left out."""
        if not output.requires_grad or output.shape[0] % self.images:
            return
        last = isinstance(layer, nn.Linear)
        activation = output.detach()  # not the output itself: it would hold its own hook, and never be freed
        output.register_hook(lambda gradient: self._add(activation, gradient, last))

    def _add(self, activation: Tensor, gradient: Tensor, last: bool) -> None:
        """(B, ..., C), or (B, C, ...) of a convolution. The loss is a mean over images, hence the factor B."""
        product = activation * gradient * self.images
        by_place = product if last else product.movedim(1, -1)
        per_image = by_place.reshape(self.images, -1, by_place.shape[-1]).sum(dim=1)  # (B, C)
        self._sums.append(per_image.square().mean(dim=0).sum() / 2)

    def information(self) -> float:
        """Summed over all channels that were heard."""
        return float(sum(value.item() for value in self._sums))


@contextmanager
def observing(network: nn.Module, *, images: int) -> Iterator[Channels]:
    """While open, a forward and a backward pass over so many images fill the channels."""
    channels = Channels(images)
    with ExitStack() as hooks:
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                hooks.callback(layer.register_forward_hook(channels.hear).remove)
        yield channels
