"""What is special to mixing in the frequency domain."""

import pytest
import torch
from torch import Tensor

from search_spaces.costs import Shape
from search_spaces.mixers.afno import FourierOperator, real_matrix
from search_spaces.mixers.global_filter import GlobalFilter
from tests.search_spaces.counting import randomised

GRIDS = [(6, 4), (5, 7), (1, 9)]


def normal(*size: int, seed: int = 1) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def test_the_real_matrix_is_the_complex_product() -> None:
    weight, z = normal(2, 3, 4, 5), torch.complex(normal(3, 7, 4), normal(3, 7, 4, seed=2))
    ours = torch.view_as_real(z).flatten(2) @ real_matrix(weight)
    torch.testing.assert_close(ours, torch.view_as_real(z @ torch.complex(weight[0], weight[1])).flatten(2))


@pytest.mark.parametrize("kept", [0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("grid", GRIDS)
def test_afno_equals_a_masked_complex_network_on_the_full_spectrum(grid: tuple[int, int], kept: float) -> None:
    mixer, x = randomised(FourierOperator(8, 1, grid, blocks=2, expand=2, kept=kept)), normal(2, grid[0] * grid[1], 8)
    torch.testing.assert_close(mixer(x), reference(mixer, x, grid, kept), rtol=1e-4, atol=1e-5)


def reference(mixer: FourierOperator, x: Tensor, grid: tuple[int, int], kept: float) -> Tensor:
    """In complex double precision, with a mask by signed frequency instead of slices."""
    z = torch.fft.rfft2(x.double().unflatten(1, grid), dim=(1, 2), norm="ortho").unflatten(3, (2, 4))
    weights = (mixer.weight1, mixer.bias1, mixer.weight2, mixer.bias2)
    w1, b1, w2, b2 = (torch.complex(t[0].double(), t[1].double()) for t in weights)
    z = torch.einsum("bhwki,kio->bhwko", z, w1) + b1
    z = torch.complex(z.real.relu(), z.imag.relu())
    z = torch.einsum("bhwki,kio->bhwko", z, w2) + b2
    shrunk = [torch.nn.functional.softshrink(part, 0.01) for part in (z.real, z.imag)]
    rows = torch.fft.fftfreq(grid[0]).abs() * grid[0] <= kept * grid[0] / 2
    columns = torch.arange(grid[1] // 2 + 1) <= kept * grid[1] / 2
    z = torch.complex(*shrunk).flatten(3) * (rows[:, None] & columns)[..., None]
    return torch.fft.irfft2(z, s=grid, dim=(1, 2), norm="ortho").flatten(1, 2).float()


def test_afno_with_a_high_threshold_is_silent() -> None:
    assert randomised(FourierOperator(8, 1, (6, 4), blocks=2, shrink=1e4))(normal(2, 24, 8)).abs().max() == 0


def test_afno_on_one_token_is_a_network_of_real_numbers() -> None:
    mixer, x = randomised(FourierOperator(8, 1, (1, 1), blocks=1, shrink=0.0)), normal(2, 1, 8)
    hidden = torch.complex(*(x @ mixer.weight1[part, 0] + mixer.bias1[part, 0] for part in (0, 1)))
    hidden = torch.complex(hidden.real.relu(), hidden.imag.relu())
    wanted = (hidden @ torch.complex(*mixer.weight2[:, 0])).real + mixer.bias2[0, 0]
    torch.testing.assert_close(mixer(x), wanted)


def test_afno_refuses_blocks_that_do_not_divide_or_are_narrow() -> None:
    shape = Shape(dim=24, heads=1, head_dim=24, grid=(6, 4), tokens=24)
    assert FourierOperator.check(shape, blocks=4) is None
    assert "24 channels in 5 blocks" in str(FourierOperator.check(shape, blocks=5))
    assert "at least 4" in str(FourierOperator.check(shape, blocks=8))


@pytest.mark.parametrize("grid", GRIDS)
def test_a_global_filter_is_a_circular_convolution(grid: tuple[int, int]) -> None:
    mixer, x, kernel = GlobalFilter(3, 1, grid), normal(2, grid[0] * grid[1], 3), normal(*grid, 3, seed=2)
    mixer.weight.data = torch.view_as_real(torch.fft.rfft2(kernel, dim=(0, 1)))
    image, wanted = x.unflatten(1, grid), torch.zeros(2, *grid, 3)
    for row in range(grid[0]):
        for column in range(grid[1]):
            wanted += kernel[row, column] * image.roll((row, column), (1, 2))
    torch.testing.assert_close(mixer(x), wanted.flatten(1, 2), rtol=1e-4, atol=1e-5)


def test_a_global_filter_of_ones_changes_nothing() -> None:
    mixer, x = GlobalFilter(3, 1, (5, 7)), normal(2, 35, 3)
    mixer.weight.data = torch.tensor([1.0, 0.0]).expand(5, 4, 3, 2).clone()
    torch.testing.assert_close(mixer(x), x)
