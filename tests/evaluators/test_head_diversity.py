"""Measures of head diversity against closed forms, maps against explicit softmax, planted labels, and the penalty."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import search_spaces
from evaluators.data import Dataset
from evaluators.head_diversity import HeadPenalty, measure_heads
from evaluators.head_diversity.analysis import Samples, _balanced
from evaluators.head_diversity.layers import head_layers, listening
from evaluators.head_diversity.maps import asking, attention_map
from evaluators.head_diversity.measures import (
    attention_distance,
    disagreement,
    effective_heads,
    entropy,
    mean_cosine,
    output_cosines,
)
from evaluators.head_diversity.penalty import shared
from evaluators.head_diversity.specialisation import (
    class_means,
    clusters,
    degree,
    head_fields,
    overlap,
    ridge_probe,
    specialisation,
)
from evaluators.proxy_training import ProxyTraining, Recipe
from nas.genotype import Atom, Genotype, Stage
from search_spaces.mixers import MIXERS

SAMPLES = Samples(outputs=8, maps=2, queries=6, probe=60, held_out=30)


def network(atom: Atom, image_size: int = 8, head_dim: int = 4, **changes: object) -> nn.Module:
    stage = Stage(width=16, depth=1, head_dim=head_dim, a=atom, ffn=Atom("mlp", ratio=1))
    genotype = Genotype(topology="plain", stem=Atom("patch", size=1), position=Atom("learned"), stages=(stage,))
    genotype = replace(genotype, **changes)
    return search_spaces.build(genotype, image_size=image_size, in_chans=1, classes=3)


def pictures(count: int = 90, size: int = 8, classes: int = 3) -> Dataset:
    """Noise, with the rows of each label's third lighter."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 150, (count, 1, size, size), generator=generator)
    y = torch.arange(count) % classes
    for label in range(classes):
        x[y == label, :, label * size // classes : (label + 1) * size // classes] += 100
    x = x.to(torch.uint8)
    return Dataset(
        name="thirds", class_names=tuple("abc"[:classes]), train_x=x[:60], train_y=y[:60], val_x=x[60:], val_y=y[60:],
        test_x=None, test_y=None, mean=(0.4,), std=(0.2,), notes=(), fingerprint="",
    )  # fmt: skip


def map_of(atom: Atom, size: int = 8, queries: int = 64, **changes: object):
    """The core, its q and k, and the map of the first `queries` patches."""
    made = network(atom, size, **changes).eval()
    cores = head_layers(made)[0].cores
    with torch.no_grad(), asking(cores) as asked:
        made(torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(1)))
        q, k = asked[cores[0]]
        rows = torch.arange(queries).expand(2, -1)
        return cores[0], q, k, attention_map(cores[0], q, k, rows)


def test_effective_heads_count_the_groups_that_differ():
    basis = torch.eye(6)
    for groups, expected in ((1, 1), (2, 2), (6, 6)):
        heads = basis[torch.arange(6) * groups // 6]  # (h, d)
        cosines = output_cosines(heads[None, :, None].expand(2, -1, 5, -1))
        assert effective_heads(cosines) == pytest.approx(expected, abs=1e-6)
    assert mean_cosine(output_cosines(torch.ones(1, 4, 3, 2))) == pytest.approx(1)


def test_disagreement_is_zero_for_equal_and_log_heads_for_disjoint_maps():
    disjoint = torch.eye(6)[None, :, None].expand(2, -1, 3, -1)
    equal = torch.full((2, 6, 3, 6), 1 / 6)
    assert disagreement(disjoint) == pytest.approx(math.log(6), abs=1e-5)
    assert disagreement(equal) == pytest.approx(0, abs=1e-6)
    assert entropy(equal).mean().item() == pytest.approx(math.log(6), abs=1e-5)
    assert entropy(disjoint).max() == 0


@pytest.mark.parametrize(("side", "expected"), [(7, 3.610), (8, 4.136), (14, 7.281), (16, 8.326)])
def test_attention_distance_of_uniform_maps_is_that_of_the_grid(side, expected):
    tokens = side * side
    queries = torch.arange(tokens)[None]
    uniform, own = torch.full((1, 2, tokens, tokens), 1 / tokens), torch.eye(tokens).expand(1, 2, -1, -1)
    assert attention_distance(uniform, queries, (side, side)).tolist() == pytest.approx([expected] * 2, abs=1e-3)
    assert attention_distance(own, queries, (side, side)).abs().max() == 0


def test_the_map_of_softmax_is_the_softmax_of_its_products():
    _, q, k, found = map_of(Atom("softmax"))
    expected = (q @ k.transpose(2, 3) / 2).softmax(dim=3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_the_map_of_windows_stays_inside_them():
    _, _, _, found = map_of(Atom("window", divisions=2))
    window = torch.arange(8) // 4
    window = (window[:, None] * 2 + window).flatten()
    assert found[..., window[:, None] != window].abs().max() < 1e-6
    torch.testing.assert_close(found.sum(dim=3), torch.ones(2, 4, 64))


@pytest.mark.parametrize("remainder", ["pad", "drop"])
def test_a_reduced_key_shares_its_weight_among_the_tokens_of_its_cell(remainder):
    _, q, k, found = map_of(Atom("spatial_reduction", reduction=2, remainder=remainder), size=7, queries=49)
    own = (q @ k.transpose(2, 3) / 2).softmax(dim=3)  # (B, h, 49, M)
    side = 4 if remainder == "pad" else 3
    assert found.shape == (2, 4, 49, 49)
    torch.testing.assert_close(found[..., 0], own[..., 0] / 4, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.unflatten(3, (7, 7))[..., 2:4, 4:6].sum(dim=(3, 4)), own[..., side + 2])
    assert found.unflatten(3, (7, 7))[..., 6, :].max() > 0 if side == 4 else found[..., -1].max() == 0


def test_convolutions_of_the_values_are_no_part_of_the_map():
    core, q, k, found = map_of(Atom("cross_shaped_window", stripes=1))
    expected = (q @ k.transpose(2, 3) / 2).softmax(dim=3)
    assert core.local.weight.abs().max() > 0
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_what_falls_on_padding_is_left_out():
    core, _, _, found = map_of(Atom("window", window=3, pads="tokens"), size=8)
    assert core.sees_pads
    assert found.shape[3] == 64
    torch.testing.assert_close(found.sum(dim=3), torch.ones(2, 4, 64))


def test_attention_over_channels_has_no_map():
    assert map_of(Atom("cross_covariance"))[3] is None
    assert map_of(Atom("channel_groups"))[3] is None


@pytest.mark.parametrize("name", sorted(MIXERS))
def test_every_mixer_with_heads_is_measured(name):
    stage = Stage(width=16, depth=2, head_dim=4, a=Atom("softmax"), b=Atom(name), mode="then")
    layers = measure_heads(network(Atom("softmax"), stages=(stage,)), pictures(), samples=SAMPLES)
    assert [layer.mechanism for layer in layers] == ["softmax", *[name] * (len(layers) - 1)]
    assert len(layers) == 2 or not MIXERS[name].has_heads, "heads are projected by children named proj..."
    for layer in layers:
        assert 1 - 1e-6 <= layer.effective <= layer.heads + 1e-6
        assert layer.look is None or layer.look.heads <= layer.heads
        assert layer.specialisation is not None


def test_heads_of_two_mechanisms_in_one_layer_are_measured_together():
    stage = Stage(width=16, depth=1, head_dim=4, a=Atom("softmax"), b=Atom("window"), mode="headmix", share=0.25)
    layer = measure_heads(network(Atom("softmax"), stages=(stage,)), pictures(), samples=SAMPLES)[0]
    assert (layer.mechanism, layer.heads, layer.look.heads) == ("softmax | window", 4, 4)
    first, *rest = layer.look.distances
    assert first > max(rest) + 1  # the head that sees all looks further than those in windows


def test_a_class_token_and_reduced_tokens_are_measured():
    stage = Stage(width=16, depth=2, head_dim=4)
    made = network(Atom("softmax"), stages=(stage,), registers=2, cls_token=True, reduction=Atom("tome", at=0.5))
    first, second = measure_heads(made, pictures(), samples=SAMPLES)
    assert [layer.look.heads for layer in (first, second)] == [4, 4]
    assert max(first.look.distances) < 9.9
    assert second.look.distances is None  # merged tokens have no place
    assert 0 <= second.look.disagreement <= math.log(4)


def test_measuring_leaves_no_trace_on_the_network():
    made = network(Atom("softmax"))
    made.train()
    before = {name: p.clone() for name, p in made.named_parameters()}
    measure_heads(made, pictures(), samples=SAMPLES)
    assert made.training
    assert all(torch.equal(p, before[name]) for name, p in made.named_parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "attend" in m.__dict__ for m in made.modules())


def test_measures_repeat_and_depend_on_the_seed_alone():
    made = network(Atom("softmax"))
    first, again = (measure_heads(made, pictures(), samples=SAMPLES, seed=1) for _ in range(2))
    assert first == again
    assert measure_heads(made, pictures(), samples=SAMPLES, seed=2) != first


def planted(labels: int = 6, each: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """One node per label j, which responds to labels j and j + 1."""
    y = torch.arange(labels * each) % labels
    responds = torch.eye(labels) + torch.eye(labels).roll(1, dims=0)  # (label, node)
    noise = torch.randn(len(y), labels, generator=torch.Generator().manual_seed(seed))
    return responds[y] + 0.05 * noise, y


def test_planted_nodes_recognise_their_two_labels():
    x, y = planted(labels=5)
    x = x.double() - x.double().mean(dim=0)
    probe = torch.eye(5, dtype=torch.float64).roll(1, dims=1) + torch.eye(5)  # node j feeds outputs j and j + 1
    fields = head_fields(class_means(x, y), probe, heads=5)
    ones = fields[0] > 0.4 * fields[0].max()
    assert ones.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    found = clusters(fields[0])
    assert (found.labels, found.noise, found.size) == (((0, 1),), 0, 2)


def test_the_probe_reads_planted_nodes_without_a_mistake():
    found = specialisation(planted(5), planted(5, seed=1), heads=5)
    assert found.accuracy == 1
    assert max(found.solo) <= 0.4 + 1e-9
    assert found.coverage == 1
    assert min(found.degrees) > 0.3


def test_fields_of_the_heads_sum_to_the_class_means_of_the_logits():
    x, y = planted(6)
    x = x.double() - x.double().mean(dim=0)
    probe = ridge_probe(x, y)
    expected = torch.stack([(x @ probe)[y == label].mean(dim=0) for label in range(6)])
    for heads in (1, 2, 3, 6):
        torch.testing.assert_close(head_fields(class_means(x, y), probe, heads).sum(dim=0), expected)


def test_ridge_is_least_squares_when_the_penalty_is_small():
    x, y = planted(6)
    x = x.double() - x.double().mean(dim=0)
    expected = torch.linalg.lstsq(x, torch.nn.functional.one_hot(y).double()).solution
    torch.testing.assert_close(ridge_probe(x, y), expected, atol=0.01, rtol=0.05)


def test_a_head_that_is_there_twice_overlaps_with_itself_fully():
    (x, y), (held, labels) = planted(6), planted(6, seed=1)
    twice, held = torch.cat([x[:, :3], x[:, :3]], dim=1), torch.cat([held[:, :3], held[:, :3]], dim=1)
    found = specialisation((twice, y), (held, labels), heads=2)
    assert found.overlap == pytest.approx(1)
    assert found.by_label[0] == found.by_label[1]
    assert found.without[0] == found.solo[1] == found.solo[0]


def test_renaming_labels_renames_rows_and_columns():
    x, y = planted(6)
    x, order = x.double() - x.double().mean(dim=0), torch.tensor([3, 1, 5, 0, 2, 4])
    fields, renamed = (head_fields(class_means(x, z), ridge_probe(x, z), 2) for z in (y, order[y]))
    torch.testing.assert_close(renamed[:, order][:, :, order], fields)


def test_degree_and_overlap_by_hand():
    assert degree(torch.tensor([0.5, 0.5, 0.5, 0.5])) == pytest.approx(0, abs=1e-6)
    assert degree(torch.tensor([0.7, 0.0, 0.0, 0.0])) == pytest.approx(1)
    assert degree(torch.tensor([0.4, 0.4, 0.0, 0.0])) == pytest.approx(0.5)
    owns = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).bool()
    assert overlap(owns) == pytest.approx((1 / 3 + 0 + 0) / 3)


def test_clusters_of_a_hand_made_matrix():
    fields = torch.zeros(6, 6)
    fields[:2, :2], fields[3:6, 3:6] = 1.0, 0.8
    fields[0, 4] = 0.9  # outside every block
    fields[2, 2] = 0.3  # below the threshold
    order = torch.tensor([4, 0, 3, 5, 1, 2])
    found = clusters(fields[order][:, order])
    assert sorted(map(len, found.labels)) == [2, 3]
    assert (found.noise, found.size) == (1, 2.5)
    assert len(clusters(fields, threshold=0.2).labels) == 3
    assert clusters(-fields).labels == ()


def test_samples_hold_each_label_equally_often():
    labels = torch.tensor([0] * 50 + [1] * 7 + [2] * 20)
    rows = _balanced(labels, 15, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[rows]).tolist() == [5, 5, 5]
    assert len(torch.unique(rows)) == 15
    assert torch.bincount(labels[_balanced(labels, 99, torch.Generator().manual_seed(0))]).tolist() == [50, 7, 20]


def test_data_of_one_label_have_no_specialisation():
    data = pictures(classes=1)
    assert measure_heads(network(Atom("softmax")), data, samples=SAMPLES)[0].specialisation is None


def test_the_penalty_is_one_for_equal_and_zero_for_orthogonal_heads():
    equal = torch.randn(2, 1, 5, 4).expand(-1, 3, -1, -1)
    orthogonal = torch.eye(4)[None, :, None].expand(2, -1, 5, -1)
    assert shared(equal).item() == pytest.approx(1, abs=1e-5)
    assert shared(-equal * torch.tensor([1, -1, 1])[None, :, None, None]).item() == pytest.approx(1, abs=1e-5)
    assert shared(orthogonal).item() == 0
    assert shared(torch.ones(2, 1, 3, 4)).item() == 0


def test_the_penalty_makes_heads_differ():
    found = {}
    for weight in (0.0, 0.1):
        made = network(Atom("softmax"), head_dim=8)
        layer = head_layers(made)[0].module
        with torch.no_grad():  # both heads start equal but for a little noise
            for block in layer.qkv.weight.chunk(3):
                block[8:] = block[:8] + 0.02 * torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
        recipe = Recipe(epochs=6, batch_size=20, lr=5e-4, augment=(), head_diversity=weight)
        list(ProxyTraining(made, pictures(), recipe, device="cpu", seed=0).run())
        found[weight] = measure_heads(made, pictures(), samples=SAMPLES)[0].effective
    assert found[0.1] > found[0.0] + 0.2


def test_without_a_weight_no_hook_is_installed(monkeypatch):
    monkeypatch.setattr("evaluators.proxy_training.HeadPenalty", lambda network: pytest.fail("installed"))
    list(ProxyTraining(network(Atom("softmax")), pictures(), Recipe(epochs=1), device="cpu", seed=0).run())


def test_a_penalty_without_heads_is_noted():
    recipe = Recipe(epochs=1, head_diversity=0.1)
    training = ProxyTraining(network(Atom("pooling")), pictures(), recipe, device="cpu", seed=0)
    list(training.run())
    assert training.notes == ["head_diversity has no effect: no layer has two heads"]


def test_the_penalty_listens_only_while_it_is_open():
    made, x = network(Atom("softmax")), torch.randn(2, 1, 8, 8)
    penalty = HeadPenalty(made)
    with penalty:
        made(x)
    inside = penalty.value().item()
    made(10 * x)
    assert penalty.value().item() == inside
    with listening(penalty.layers, lambda _, outputs: heard.append(outputs)) as _:
        heard: list[torch.Tensor] = []
        made(x)
    assert shared(heard[0]).item() == pytest.approx(inside)
