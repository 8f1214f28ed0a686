"""Layer: an nn.Module that remembers how it was made, so that a network can be written out as plain source code."""

import functools
import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FAR = 9.0  # beyond the map there is nothing more to read


class Layer(nn.Module):
    """Base of every module here. `made_with` holds the constructor's arguments by name."""

    made_with: dict[str, Any]

    def init_special(self) -> None:
        """Weights that do not start as the network's rule says; called after all others are drawn."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" not in cls.__dict__:
            return
        original = cls.__init__
        signature = inspect.signature(original)

        @functools.wraps(original)
        def remembering(self: "Layer", *args: Any, **kwargs: Any) -> None:
            if "made_with" not in self.__dict__:
                bound = signature.bind(self, *args, **kwargs)
                given = dict(list(bound.arguments.items())[1:])
                given.update(given.pop("params", {}) if "params" in given and _takes_params(signature) else {})
                self.__dict__["made_with"] = given
            original(self, *args, **kwargs)

        cls.__init__ = remembering  # type: ignore[method-assign, assignment]


def _takes_params(signature: inspect.Signature) -> bool:
    last = list(signature.parameters.values())[-1]
    return last.kind is inspect.Parameter.VAR_KEYWORD and last.name == "params"


def split_prefix(x: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
    """(B, P + N, C) -> prefix (B, P, C) and patch tokens (B, N, C)."""
    prefix = x.shape[1] - tokens
    return x[:, :prefix], x[:, prefix:]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, L, h·d) -> (B, h, L, d), heads of consecutive channels. A view."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def to_map(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patch tokens (B, N, C) in row order -> feature map (B, C, H, W). A view."""
    return x.transpose(1, 2).unflatten(2, grid)


def to_tokens(x: Tensor) -> Tensor:
    """Feature map (B, C, H, W) -> patch tokens (B, N, C) in row order."""
    return x.flatten(2).transpose(1, 2)


def read_at(x: Tensor, places: Tensor, **how: Any) -> Tensor:
    """grid_sample of x (B, C, H, W) at places (B, h, w, 2), where -1 and 1 are the map's edges.

    In a training that diverges places are no numbers. PyTorch reads foreign memory then and dies; here they become the
    middle of the map.
    """
    return F.grid_sample(x, places.nan_to_num(0.0).clamp(-FAR, FAR), **how)


def add_on_map(x: Tensor, grid: tuple[int, int], convolution: nn.Module) -> Tensor:
    """(B, P + N, C) with `convolution` of the patches' map added to the patches; prefix tokens pass by."""
    prefix, patches = split_prefix(x, grid[0] * grid[1])
    patches = patches + to_tokens(convolution(to_map(patches, grid)))
    return torch.cat([prefix, patches], dim=1) if prefix.shape[1] else patches
