"""Proxy training: learns, repeats itself, and turns what goes wrong into a note or a reason."""

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

from evaluators.data import Dataset
from evaluators.proxy_training import ProxyTraining, Recipe, TrainingFailed, evaluate_accuracy

RECIPE = Recipe(epochs=3, batch_size=16, lr=0.01, warmup_epochs=1, augment=("crop", "flip"))


def stripes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy pictures of horizontal (class 0) or vertical (class 1) stripes."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (count,), generator=generator)
    lines = 160 * (torch.arange(8) % 2)[:, None].expand(8, 8)
    x = torch.where(y[:, None, None] == 0, lines, lines.T) + torch.randint(60, (count, 8, 8), generator=generator)
    return x[:, None].to(torch.uint8), y


def dataset() -> Dataset:
    (a, b), (c, d) = stripes(96, 0), stripes(50, 1)
    return Dataset(
        name="stripes", class_names=("lying", "standing"), train_x=a, train_y=b, val_x=c, val_y=d,
        test_x=None, test_y=None, mean=(0.43,), std=(0.32,), notes=(), fingerprint="",
    )  # fmt: skip


class Net(nn.Module):
    """A small network; `fails` sees the number of images before they go through."""

    def __init__(self, fails=lambda _images: None, dropout: float = 0.0):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.GELU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(288, 2))
        self.fails = fails

    def forward(self, x):
        self.fails(len(x))
        return self.body(x)


def train(network: nn.Module, recipe: Recipe = RECIPE, **kwargs):
    training = ProxyTraining(network, dataset(), recipe, device="cpu", seed=0, **kwargs)
    return training, list(training.run())


@pytest.mark.parametrize("extra", [{}, {"mixup": 0.4}, {"ema": 0.9}, {"augment": ()}])
def test_learns_stripes_and_reports_every_epoch(extra):
    training, points = train(Net(), replace(RECIPE, **extra))
    assert [p.epoch for p in points] == [1, 2, 3]
    assert points[-1].accuracy > 0.95
    data = dataset()
    assert evaluate_accuracy(training.network, data.val_x, data.val_y, data, device="cpu") == points[-1].accuracy


def test_same_seed_same_curve_whatever_happens_to_the_global_generator():
    curves = []
    for disturbance in (1, 2):
        training = ProxyTraining(Net(dropout=0.3), dataset(), RECIPE, device="cpu", seed=5)
        torch.manual_seed(disturbance)
        curves.append([(p.loss, p.accuracy) for p in training.run()])
    assert curves[0] == curves[1]


def test_training_leaves_the_global_generator_alone():
    network = Net(dropout=0.3)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    train(network)
    assert torch.equal(torch.rand(2), expected)


def test_accumulated_gradients_equal_those_of_the_whole_batch():
    def small_memory(images: int) -> None:
        if images > 5:
            raise torch.OutOfMemoryError("simulated")

    (_, whole), (training, parts) = train(Net()), train(Net(small_memory))
    assert [p.loss for p in parts] == pytest.approx([p.loss for p in whole], rel=1e-3)
    assert training.notes == [f"out of memory: {n} images at a time, accumulated to a batch of 16" for n in (8, 4)]


def test_validation_that_does_not_fit_is_done_in_smaller_batches():
    network = Net()

    def small_memory(images: int) -> None:
        if images > 8 and not network.training:
            raise torch.OutOfMemoryError("simulated")

    network.fails = small_memory
    training, points = train(network)
    assert points[-1].accuracy > 0.95
    assert len(training.notes) == 1


def test_memory_too_small_for_one_image_fails_with_its_reason():
    def no_memory(_images: int) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(TrainingFailed, match="out of memory with 1 image"):
        train(Net(no_memory))


def test_loss_that_is_not_a_number_fails_with_its_epoch():
    network, calls = Net(), []

    def poison(images: int) -> None:
        calls.append(images)
        if len(calls) == 12:  # in the second of the epochs of 6 steps and 4 validation batches
            nn.init.constant_(network.body[0].weight, float("nan"))

    network.fails = poison
    with pytest.raises(TrainingFailed, match="loss is not a number in epoch 2"):
        train(network)


def test_other_errors_are_not_taken_for_lack_of_memory():
    def broken(_images: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(Net(broken))


def test_deadline_ends_the_training_with_its_reason():
    with pytest.raises(TrainingFailed, match=r"time limit of 0\.001 s reached in epoch 1"):
        train(Net(), deadline_s=0.001)


def test_every_batch_holds_the_lease_and_waiting_is_counted():
    class Lease:
        held, batches = 0, 0

        @contextmanager
        def shared(self):
            self.held, self.batches = self.held + 1, self.batches + 1
            yield
            self.held -= 1

    lease, alone = Lease(), []
    training, _ = train(Net(lambda _: alone.append(lease.held != 1)), lease=lease)
    assert not any(alone)
    assert lease.held == 0
    assert lease.batches == 3 * (6 + 4)
    assert 0 <= training.waited_s < 1


def test_accuracy_is_the_share_of_right_answers_and_keeps_the_mode():
    class Constant(nn.Module):
        def forward(self, x):
            assert not self.training
            return torch.tensor([[0.0, 1.0]]).expand(len(x), 2)

    data, network = dataset(), Constant().train()
    found = evaluate_accuracy(network, data.val_x, data.val_y, data, device="cpu", batch_size=7)
    assert found == sum(data.val_y.tolist()) / 50
    assert network.training


def test_images_reach_the_network_normalised():
    seen = []

    class Spy(Net):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    data = dataset()
    evaluate_accuracy(Spy(), data.train_x, data.train_y, data, device="cpu")
    assert torch.allclose(torch.cat(seen), (data.train_x / 255 - 0.43) / 0.32, atol=1e-5)


@pytest.mark.parametrize("extra", [{}, {"mixup": 0.4, "ema": 0.9}])
def test_going_on_after_the_first_epoch_equals_one_go(extra):
    recipe = replace(RECIPE, **extra)
    whole, points = train(Net(dropout=0.3), recipe)
    first = ProxyTraining(Net(dropout=0.3), dataset(), recipe, device="cpu", seed=0)
    next(first.run())
    tensors, facts = first.state()
    second = ProxyTraining(Net(dropout=0.3), dataset(), recipe, device="cpu", seed=0)
    second.load_state({k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(facts)))
    assert [(p.epoch, p.loss, p.accuracy) for p in second.run()] == [(p.epoch, p.loss, p.accuracy) for p in points[1:]]
    for a, b in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)
