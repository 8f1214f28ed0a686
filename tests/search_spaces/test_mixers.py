"""The contract of token mixers, over the whole registry."""

import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.errors import UserError
from nas.genotype import Atom
from search_spaces.canonical import with_defaults
from search_spaces.costs import Cost, Shape
from search_spaces.mixers import MIXERS, build_mixer, mixer_cost
from search_spaces.mixers.base import TAKEN
from tests.search_spaces.counting import measured, randomised

GRIDS = [(8, 8), (7, 5), (4, 4)]
# a gate sees the map but moves nothing between places
WITHOUT_GATE: dict[str, dict[str, Any]] = {"mbconv": {"squeeze": 0}, "skip_attention": {"gate": False}}


def shape(grid: tuple[int, int] | None, prefix: int = 0, tokens: int = 0) -> Shape:
    tokens = tokens if grid is None else grid[0] * grid[1]
    return Shape(dim=32, heads=2, head_dim=16, grid=grid, tokens=tokens, prefix=prefix)


def atoms_of(name: str) -> list[Atom]:
    """The defaults, and every combination of the values worth trying."""
    search = MIXERS[name].search
    settings = [Atom(name, **dict(zip(search, values, strict=True))) for values in product(*search.values())]
    return list(dict.fromkeys([Atom(name), *(with_defaults(MIXERS[name], atom) for atom in settings)]))


def fits(atom: Atom, at: Shape) -> bool:
    return MIXERS[atom.kind].check(placed(atom, at), **atom.params) is None


def placed(atom: Atom, at: Shape) -> Shape:
    """Behind a block that leaves what the mixer recalls, if it cannot do without."""
    kind = MIXERS[atom.kind]
    alone = not kind.recalls or kind.check(at, **atom.params) is None
    return at if alone else replace(at, given=True)


def cases(*grids: tuple[int, int]) -> list[Any]:
    return [
        pytest.param(atom, placed(atom, shape(grid)), id=f"{atom}-{grid[0]}x{grid[1]}")
        for name in MIXERS
        for atom in atoms_of(name)
        for grid in grids
        if fits(atom, shape(grid))
    ]


def make(atom: Atom, at: Shape) -> nn.Module:
    mixer = randomised(build_mixer((atom,), 0.5, placed(atom, at)))
    return Recalling(mixer, atom.params.get("latents", 32)) if MIXERS[atom.kind].recalls else mixer


class Recalling(nn.Module):
    """A mixer behind a block that has left the tokens themselves, their mean as latents, some as messengers, and their
    distances."""

    def __init__(self, mixer: nn.Module, latents: int):
        super().__init__()
        self.mixer, self.latents = mixer, latents

    def forward(self, x: Tensor) -> Tensor:
        apart = (x[:, None, :, None] - x[:, None, None]).square().mean(dim=-1).expand(-1, 2, -1, -1)
        latents = x.mean(dim=1, keepdim=True).expand(-1, self.latents, -1)
        messengers = x[:, : getattr(self.mixer, "messengers", 0)]
        return self.mixer(x, {"output": x, "scores": -apart, "latents": latents, "messengers": messengers})


def tokens(at: Shape, batch: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(batch, at.length, at.dim, generator=torch.Generator().manual_seed(seed))


def assert_exact(atom: Atom, at: Shape) -> None:
    seen, said = measured(make(atom, at), tokens(at, batch=1)), mixer_cost((atom,), 0.5, placed(atom, at))
    assert said == (Cost(seen.params, said.macs, said.activations) if MIXERS[atom.kind].hidden_macs else seen)


def test_there_are_at_least_fifteen_mixers() -> None:
    assert len(MIXERS) >= 15


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_names_its_paper_and_fits_somewhere(name: str) -> None:
    about = MIXERS[name].about
    assert re.fullmatch(r"\d{4}\.\d{5}", about.arxiv)
    assert all((about.paper, about.group, about.complexity, MIXERS[name].__doc__))
    assert any(fits(atom, shape(grid)) for atom in atoms_of(name) for grid in GRIDS)


@pytest.mark.parametrize("taken", sorted(TAKEN))
@pytest.mark.parametrize("name", MIXERS)
def test_a_config_cannot_set_what_follows_from_the_place_of_a_block(name: str, taken: str) -> None:
    atom = Atom(name, **{taken: 1})
    with pytest.raises(UserError, match=rf"^{re.escape(str(atom))}: {taken} follows from .*; ") as caught:
        build_mixer((atom,), 1.0, shape((8, 8)))
    assert all(key in str(caught.value) for key in MIXERS[name].search)


@pytest.mark.parametrize(("atom", "at"), cases(*GRIDS))
def test_shape_is_kept_and_every_parameter_learns(atom: Atom, at: Shape) -> None:
    mixer, x = make(atom, at).train(), tokens(at).requires_grad_()
    y = x + mixer(x)
    y.square().sum().backward()
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    for name, tensor in [("x", x), *mixer.named_parameters()]:
        assert tensor.grad is not None, name
        assert torch.isfinite(tensor.grad).all(), name


@pytest.mark.parametrize(("atom", "at"), cases(*GRIDS))
def test_cost_is_what_pytorch_counts(atom: Atom, at: Shape) -> None:
    assert_exact(atom, at)


@pytest.mark.parametrize(("atom", "at"), cases((7, 5)))
def test_images_of_a_batch_do_not_meet(atom: Atom, at: Shape) -> None:
    mixer, x = make(atom, at), tokens(at, batch=3)
    together = mixer(x)
    torch.testing.assert_close(together[1:2], mixer(x[1:2]), rtol=1e-4, atol=1e-5)
    assert torch.equal(together, mixer(x))


@pytest.mark.parametrize("name", MIXERS)
def test_prefix_tokens_are_taken_or_refused_as_declared(name: str) -> None:
    atom, at = Atom(name), shape((8, 8), prefix=3)
    if MIXERS[name].takes_prefix:
        assert make(atom, at)(tokens(at)).shape == (2, 67, 32)
        assert_exact(atom, at)
    else:
        with pytest.raises((RuntimeError, ValueError)):
            make(atom, shape((8, 8)))(tokens(at))


@pytest.mark.parametrize(("atom", "at"), cases((8, 8)))
def test_only_set_mixers_ignore_the_order_of_tokens(atom: Atom, at: Shape) -> None:
    mixer, x = make(atom, at), tokens(at)
    order = torch.randperm(at.length, generator=torch.Generator().manual_seed(3))
    same = torch.allclose(mixer(x)[:, order], mixer(x[:, order]), rtol=1e-4, atol=1e-5)
    assert same == MIXERS[atom.kind].set_like(**atom.params)


@pytest.mark.parametrize("name", [n for n in MIXERS if MIXERS[n].is_set])
def test_set_mixers_work_without_a_grid(name: str) -> None:
    at = shape(None, prefix=1, tokens=40)
    assert fits(Atom(name), at)
    assert make(Atom(name), at)(tokens(at)).shape == (2, 41, 32)
    assert_exact(Atom(name), at)


@pytest.mark.parametrize(("atom", "at"), [c for c in cases((8, 8)) if MIXERS[c.values[0].kind].reach != "global"])
def test_a_far_token_does_not_reach_a_local_mixer(atom: Atom, at: Shape) -> None:
    atom = Atom(atom.kind, **{**atom.params, **WITHOUT_GATE.get(atom.kind, {})})
    mixer, x = make(atom, at), tokens(at)
    moved = x.clone()
    moved[:, -1] += 1
    torch.testing.assert_close(mixer(x)[:, 0], mixer(moved)[:, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("atom", "at"), cases((8, 8)))
def test_other_tokens_matter_unless_the_reach_is_none(atom: Atom, at: Shape) -> None:
    mixer, x, middle = make(atom, at), tokens(at), 27
    moved = tokens(at, seed=2)
    moved[:, middle] = x[:, middle]
    same = torch.allclose(mixer(x)[:, middle], mixer(moved)[:, middle], rtol=0, atol=1e-5)
    assert same == (MIXERS[atom.kind].reach == "none")


@pytest.mark.parametrize(("atom", "at"), cases((8, 8)))
def test_bfloat16_stays_within_two_per_cent(atom: Atom, at: Shape) -> None:
    mixer, x = make(atom, at), tokens(at)
    exact = mixer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = mixer(x).float()
    assert (exact - rough).abs().mean() <= 2e-2 * exact.abs().mean()


@pytest.mark.parametrize("name", MIXERS)
def test_a_mixer_can_be_exported(name: str) -> None:
    at = next(shape(g) for g in ((8, 8), (7, 5), (4, 4)) if fits(Atom(name), shape(g)))
    mixer, x = make(Atom(name), at), tokens(at)
    exported = torch.export.export(mixer, (x,)).module()
    torch.testing.assert_close(exported(x), mixer(x), rtol=1e-5, atol=1e-6)
