"""A training penalty on heads that put out the same (after Li et al., EMNLP 2018, arXiv 1810.10183)."""

from contextlib import ExitStack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluators.head_diversity.layers import head_layers, listening


class HeadPenalty:
    """mean over pairs of heads of cos²(O_h, O_h') at the same token, averaged over tokens, images and layers.

    The paper's output disagreement is the mean cosine. Squared, it is least for orthogonal heads, which are what
    counts as different (`effective_heads`), and not for opposite ones, which carry the same. Works on outputs because
    fused kernels return no maps. A context manager: it listens to the passes inside, and only to those.
    """

    def __init__(self, network: nn.Module) -> None:
        self.layers = [layer for layer in head_layers(network) if sum(heads for _, heads in layer.ends) > 1]
        self._terms: list[Tensor] = []

    def __enter__(self) -> "HeadPenalty":
        self._terms.clear()
        self._open = ExitStack()
        self._open.enter_context(listening(self.layers, lambda _, outputs: self._terms.append(shared(outputs))))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def value(self) -> Tensor:
        """Of the passes since it was entered; 0 where no heads were heard."""
        return torch.stack(self._terms).mean() if self._terms else torch.zeros(())


def shared(outputs: Tensor) -> Tensor:
    """Outputs (B, h, L, d) -> scalar: 1 for equal heads, 0 for orthogonal ones; 0 for a single head."""
    heads = outputs.shape[1]
    with torch.autocast(outputs.device.type, enabled=False):
        unit = F.normalize(outputs.float(), dim=3).transpose(1, 2)  # (B, L, h, d)
        squares = (unit @ unit.transpose(2, 3)).square()
    away = squares.sum(dim=(2, 3)) - squares.diagonal(dim1=2, dim2=3).sum(dim=2)
    return away.mean() / max(1, heads * (heads - 1))
