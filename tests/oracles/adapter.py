"""How a mechanism of ours is held against the recorded results of an authors' module."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Meta = dict[str, Any]
Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """build: the module for a case. rename: the authors' parameters -> ours, differentiably. call: module and inputs ->
    outputs by name, "" for a single one."""

    build: Callable[[Meta], nn.Module]
    rename: Callable[[Meta, Tensors], Tensors]
    call: Callable[[nn.Module, Meta, Tensors], Tensors]
