"""What a module really does for one input: parameters, products and written elements, seen by PyTorch's own hooks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.costs import Cost

PRODUCTS = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten.baddbmm.default,
    torch.ops.aten.convolution.default,
}


@torch.no_grad()
def measured(module: nn.Module, *inputs: Tensor) -> Cost:
    """Of one forward pass in eval mode; the input holds one image."""
    module.eval()
    products = _Products()
    with products, _Attention(products), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        module(*inputs)
    params = sum(p.numel() for p in module.parameters())
    return Cost(params, flops.get_total_flops() // 2, products.written)


class _Products(TorchDispatchMode):
    """Adds up the elements that matrix products and convolutions write."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.inside_attention = 0, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in PRODUCTS and not self.inside_attention:
            self.written += out.numel()
        return out

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.inside_attention = True
        yield
        self.inside_attention = False


class _Attention(TorchFunctionMode):
    """Fused attention writes its result alone, whatever kernel stands in for it here."""

    def __init__(self, products: _Products) -> None:
        super().__init__()
        self.products = products

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        with self.products.paused():
            out = func(*args, **(kwargs or {}))
        self.products.written += out.numel()
        return out


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in eval mode with every parameter away from zero, so that no initialisation hides an error."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return module.eval()
