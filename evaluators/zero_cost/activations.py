"""What goes into the activation functions of a network, whether they are modules or plain calls."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

KINDS = {"relu", "relu_", "relu6", "gelu", "silu", "hardswish", "elu", "leaky_relu"}


class Listening(TorchFunctionMode):
    """While entered, hear(x) gets the input of every activation function, in their order."""

    def __init__(self, hear: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._hear = hear

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in KINDS:
            self._hear(args[0])
        return func(*args, **(kwargs or {}))
