"""Fibottention against brute force over all pairs, the closed forms of its paper, and the published densities."""

from collections.abc import Callable
from itertools import product
from random import Random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nas.architecture import make_config
from nas.exporting.torch_file import example_images, torch_source
from nas.genotype import Atom, Genotype, Stage
from search_spaces import model
from search_spaces.costs import Shape
from search_spaces.mixers import MIXERS, build_mixer, mixer_cost
from search_spaces.mixers.diagonals import diagonal_scores, diagonal_values
from search_spaces.mixers.fibonacci import GOLDEN, dealt, head_offsets, wythoff_row
from search_spaces.mixers.fibottention import DENSE_TOKENS, Fibottention, scored_pairs
from tests.search_spaces.counting import measured, randomised

Grid = tuple[int, int]
SEMANTICS = ["masked", "background"]
FORMS = {"dense": True, "sparse": False}


def shape(grid: Grid, heads: int = 4, head_dim: int = 8, prefix: int = 0) -> Shape:
    tokens = grid[0] * grid[1]
    return Shape(dim=heads * head_dim, heads=heads, head_dim=head_dim, grid=grid, tokens=tokens, prefix=prefix)


def core(at: Shape, **params: Any) -> Fibottention:
    return Fibottention(dim=at.dim, num_heads=at.heads, head_dim=at.head_dim, grid=at.grid, **params)


def sparse(at: Shape, **params: Any) -> Fibottention:
    """By diagonals also where a map of all pairs would be quicker."""
    made = core(at, **params)
    made.dense = False
    return made


def qkv(at: Shape, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(3, batch, at.heads, at.length, at.head_dim, generator=generator)


def offsets_by_hand(tokens: int, heads: int, modified: bool) -> list[set[int]]:
    """Spelled out with the golden ratio and lists, as the paper's pseudo-code."""
    golden, found = (1 + 5**0.5) / 2, []
    for i in range(1, heads + 1):
        window = 5 + (tokens // 3 - 5) * (i - 1) // max(1, heads - 1)
        terms = [int(int(i * golden) * golden), int(int(i * golden) * golden**2)]
        while terms[-1] <= window:
            terms.append(terms[-1] + terms[-2])
        found.append(set(terms[:-1]) | ({i - 1, int(i * golden)} if modified else set()))
    return found


def support_by_hand(tokens: int, heads: int, modified: bool = False, keep_lonely: bool = True) -> Tensor:
    """(h, N, N), True where |p - q| is an offset of the head; keep_lonely: and on the diagonal of an empty row."""
    offsets = offsets_by_hand(tokens, heads, modified)
    distance = (torch.arange(tokens)[:, None] - torch.arange(tokens)).abs()
    support = torch.stack([torch.isin(distance, torch.tensor(sorted(own))) for own in offsets])
    lonely = torch.eye(tokens, dtype=torch.bool) & ~support.any(2, keepdim=True)
    return support | lonely if keep_lonely else support


def by_hand(at: Shape, qkv: Tensor, semantics: str, modified: bool) -> Tensor:
    """The definition of either semantics over all pairs."""
    support = support_by_hand(at.tokens, at.heads, modified, keep_lonely=semantics == "masked")
    support = F.pad(support, (at.prefix, 0, at.prefix, 0), value=True)
    q, k, v = qkv
    scores = q @ k.transpose(2, 3) / at.head_dim**0.5
    scores = scores.masked_fill(~support, float("-inf") if semantics == "masked" else 0.0)
    return scores.softmax(dim=3) @ v


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("grid", "prefix"), [((5, 5), 0), ((5, 5), 1), ((2, 3), 2), ((10, 11), 0), ((13, 9), 3)])
@pytest.mark.parametrize(("semantics", "variant"), product(SEMANTICS, ["standard", "modified"]))
def test_both_forms_equal_the_definition(form: str, grid: Grid, prefix: int, semantics: str, variant: str) -> None:
    at = shape(grid, prefix=prefix)
    made, tokens = core(at, semantics=semantics, variant=variant), qkv(at).requires_grad_()
    if FORMS[form] and at.tokens > DENSE_TOKENS:
        pytest.skip("only for few tokens")
    made.dense = FORMS[form]
    ours, exact = made.attend(*tokens), by_hand(at, tokens, semantics, variant == "modified")
    torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(y.square().sum(), tokens)[0] for y in (ours, exact)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_products_along_diagonals_have_the_gradients_of_finite_differences() -> None:
    steps = [[-5, -2, 2, 5], [0, 3]]
    q, k, v = torch.randn(3, 2, 2, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(2, 2, 4, 7, dtype=torch.float64)
    q, k, v, weights = (t.requires_grad_() for t in (q, k, v, weights))
    assert torch.autograd.gradcheck(lambda q, k: diagonal_scores(q, k, steps), (q, k))
    assert torch.autograd.gradcheck(lambda w, v: diagonal_values(w, v, steps), (weights, v))


@pytest.mark.parametrize("form", FORMS)
def test_large_logits_do_not_overflow(form: str) -> None:
    at = shape((4, 6), prefix=1)
    made, (q, k, v) = core(at, semantics="background"), qkv(at)
    made.dense = FORMS[form]
    exact = by_hand(at, torch.stack([q * 500, k, v]).double(), "background", modified=False)
    torch.testing.assert_close(made.attend(q * 500, k, v).double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("form", "semantics"), product(FORMS, SEMANTICS))
def test_columns_are_the_rows_of_the_transposed_map(form: str, semantics: str) -> None:
    at, turned = shape((5, 7), prefix=2), shape((7, 5), prefix=2)
    made = [core(at, order="column", semantics=semantics), core(turned, semantics=semantics)]
    for one in made:
        one.dense = FORMS[form]
    swap = torch.cat([torch.arange(2), 2 + torch.arange(35).view(5, 7).T.flatten()])
    first, second = made[0].attend(*qkv(at))[:, :, swap], made[1].attend(*qkv(at)[..., swap, :])
    torch.testing.assert_close(first, second)


def test_orders_alternate_over_the_blocks_of_a_network() -> None:
    genotype = network(order="alternate", shuffle="roll")
    cores = [module for module in model.build(genotype, image_size=24).modules() if isinstance(module, Fibottention)]
    assert [own.by_columns for own in cores] == [False, True, False]
    assert [own.steps[0] for own in cores] == [cores[0].steps[i] for i in range(3)]


def network(**params: Any) -> Genotype:
    stage = Stage(width=24, depth=3, head_dim=8, a=Atom("fibottention", **params))
    return Genotype(topology="plain", stem=Atom("patch", size=2), cls_token=True, registers=1, stages=(stage,))


@pytest.mark.parametrize("shuffle", ["roll", "random"])
def test_layers_deal_the_same_sets_to_other_heads(shuffle: str) -> None:
    sets = head_offsets(196, 6)
    layers = [dealt(sets, shuffle, layer) for layer in range(6)]
    assert all(sorted(own) == sorted(sets) for own in layers)
    assert len({str(own) for own in layers}) == 6
    assert dealt(sets, "none", 5) == sets


def test_a_shuffle_is_undone_by_exchanging_heads() -> None:
    at, order = shape((6, 6)), list(range(4))
    Random(3).shuffle(order)
    assert order != list(range(4))
    back = [order.index(head) for head in range(4)]
    shuffled, plain = core(at, shuffle="random", layer=3), core(at)
    q, k, v = qkv(at)
    assert torch.equal(shuffled.attend(q, k, v), plain.attend(q[:, back], k[:, back], v[:, back])[:, order])


def test_modified_sequences_start_two_terms_earlier() -> None:
    for row in range(1, 13):
        first, second = sorted(wythoff_row(row, 10 * row))[:2]
        earlier = {2 * first - second, second - first}
        assert earlier == {row - 1, int(row * GOLDEN)}
        assert earlier <= set(head_offsets(400, 12, variant="modified")[row - 1])


def test_standard_heads_share_no_offset() -> None:
    sets = head_offsets(784, 12)
    assert len(set().union(*sets)) == sum(map(len, sets))


def test_without_queries_the_mean_remains() -> None:
    at = shape((6, 6), heads=2)
    q, k, v = qkv(at)
    masked, background = (sparse(at, semantics=s).attend(torch.zeros_like(q), k, v) for s in SEMANTICS)
    support = support_by_hand(36, 2).float()
    torch.testing.assert_close(background, v.mean(dim=2, keepdim=True).expand_as(v))
    torch.testing.assert_close(masked, support @ v / support.sum(dim=2, keepdim=True))


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_over_every_pair_it_is_softmax_attention(semantics: str) -> None:
    at, full = shape((1, 4), heads=1), {"variant": "modified", "semantics": semantics}
    q, k, v = qkv(at)
    torch.testing.assert_close(sparse(at, **full).attend(q, k, v), F.scaled_dot_product_attention(q, k, v))
    assert MIXERS["fibottention"].simplify(at, Atom("fibottention", **full)) == Atom("softmax")


def test_a_masked_token_without_neighbours_attends_to_itself() -> None:
    at = shape((2, 2))
    assert head_offsets(4, 4)[2:] == [[], []]
    q, k, v = qkv(at)
    for made in (core(at), sparse(at)):
        torch.testing.assert_close(made.attend(q, k, v)[:, 2:], v[:, 2:])


def test_with_itself_every_token_meets_itself() -> None:
    at = shape((6, 6))
    _, k, v = qkv(at)
    assert all(own[0] == 0 for own in head_offsets(36, 4, include_self=True))
    alone = core(at, include_self=True).attend(1000 * k.sign(), k, v)
    assert (alone - v).abs().mean() < (core(at).attend(1000 * k.sign(), k, v) - v).abs().mean() / 2


@pytest.mark.parametrize(
    ("tokens", "heads", "variant", "per_cent"),
    [
        (196, 3, "standard", 4.45), (196, 6, "standard", 3.54), (196, 12, "standard", 1.99),
        (784, 3, "standard", 1.62), (3136, 3, "standard", 0.53),
        (196, 3, "modified", 5.96), (196, 6, "modified", 5.29), (196, 12, "modified", 3.83),
    ],
)  # fmt: skip
def test_the_published_share_of_pairs_is_kept(tokens: int, heads: int, variant: str, per_cent: float) -> None:
    pairs = scored_pairs(shape((1, tokens), heads=heads), {"variant": variant})
    assert 100 * sum(pairs) / (heads * tokens**2) == pytest.approx(per_cent, abs=0.005)


@pytest.mark.parametrize(("tokens", "heads"), [(116, 8), (118, 6), (125, 12), (110, 3), (149, 1)])
@pytest.mark.parametrize(("modified", "semantics"), product([False, True], SEMANTICS))
def test_macs_are_those_of_the_scored_pairs(tokens: int, heads: int, modified: bool, semantics: str) -> None:
    at = shape((1, tokens), heads=heads, prefix=2)
    support = support_by_hand(tokens, heads, modified, keep_lonely=semantics == "masked")
    pairs = F.pad(support, (2, 0, 2, 0), value=True).sum().item()
    variant = "modified" if modified else "standard"
    assert Fibottention.cost(at, variant=variant, semantics=semantics).macs == 2 * pairs * at.head_dim


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_the_dense_form_costs_all_pairs(semantics: str) -> None:
    at, atom = shape((7, 8), heads=2, prefix=2), Atom("fibottention", semantics=semantics)
    mixer = build_mixer((atom,), 1.0, at)
    assert measured(mixer, torch.randn(1, at.length, at.dim)) == mixer_cost((atom,), 1.0, at)


def test_only_the_background_reaches_a_far_token() -> None:
    at = shape((9, 12))
    q, k, v = qkv(at)
    moved = v.clone()
    moved[:, :, -1] += 1
    masked, background = (core(at, semantics=s) for s in SEMANTICS)
    assert torch.equal(masked.attend(q, k, v)[:, :, 0], masked.attend(q, k, moved)[:, :, 0])
    assert (background.attend(q, k, v)[:, :, 0] < background.attend(q, k, moved)[:, :, 0]).all()
    assert [Fibottention.sees_all(at, semantics=s) for s in SEMANTICS] == [False, True]


def test_wrong_words_are_refused_with_the_choices() -> None:
    assert Fibottention.check(shape((8, 8)), semantics="zero") == "semantics is 'zero'; it can be masked, background"
    assert Fibottention.check(shape((8, 8)), order="column", shuffle="roll") is None
    single = Atom("fibottention", order="alternate")
    assert MIXERS["fibottention"].simplify(shape((1, 64)), single) == Atom("fibottention", order="raster")


class Largest(TorchDispatchMode):
    """Notes the most elements that any result had."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.elements = max(self.elements, out.numel() if isinstance(out, Tensor) else 0)
        return out


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_no_map_of_all_pairs_is_ever_made(semantics: str) -> None:
    at = shape((30, 30), heads=2, head_dim=4, prefix=1)
    made, tokens = core(at, semantics=semantics), qkv(at, batch=1).requires_grad_()
    assert not made.dense
    with Largest() as largest:
        made.attend(*tokens).square().sum().backward()
    assert largest.elements < at.tokens**2 / 10


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_what_training_keeps_is_linear_in_tokens_and_offsets(semantics: str) -> None:
    small, large = shape((24, 24), heads=2), shape((48, 48), heads=2)
    kept = [saved_elements(core(at, semantics=semantics).attend, qkv(at, batch=1)) for at in (small, large)]
    slots = [max(len(own) for own in core(at).steps) for at in (small, large)]
    assert kept[1] / kept[0] < 1.1 * 4 * slots[1] / slots[0]


def saved_elements(function: Callable[..., Tensor], tokens: Tensor) -> int:
    """Elements of all memory that the backward pass will need."""
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = function(*tokens.requires_grad_())
    assert out.requires_grad
    return sum(saved.values())


@pytest.mark.parametrize("semantics", SEMANTICS)
def test_the_sparse_form_exports_compiles_and_takes_half_precision(semantics: str) -> None:
    at = shape((10, 11), heads=2, prefix=1)
    atom = Atom("fibottention", semantics=semantics, order="column")
    mixer, x = randomised(build_mixer((atom,), 0.5, at)), torch.randn(2, 111, 16)
    exact = mixer(x)
    torch.testing.assert_close(torch.export.export(mixer, (x,)).module()(x), exact)
    torch.testing.assert_close(torch.compile(mixer, fullgraph=True, backend="aot_eager")(x), exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = mixer(x)
    assert rough.dtype == torch.bfloat16
    assert (exact - rough).abs().mean() <= 2e-2 * exact.abs().mean()


def test_a_plain_file_trains_like_the_network() -> None:
    genotype = network(semantics="background", order="alternate")
    config = make_config(genotype, name="x", image_size=24, in_chans=3, classes=["a", "b"])
    ours = config.build(seed=1)
    namespace: dict[str, Any] = {"__name__": "plain"}
    exec(compile(torch_source(ours, config), "plain.py", "exec"), namespace)
    plain = namespace["build_model"]()
    plain.load_state_dict(ours.state_dict())
    for own in (ours, plain):
        own(example_images(config, batch=2)).square().sum().backward()
    gradients = [[parameter.grad for parameter in own.parameters()] for own in (ours, plain)]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
