"""A short training that ranks architectures: data stay on the training device, decoded, and are augmented there."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluators.augment import augmentation
from evaluators.data.dataset import Dataset
from evaluators.head_diversity.penalty import HeadPenalty
from evaluators.latency.lease import DeviceLease
from evaluators.recipe import Recipe as Recipe
from evaluators.recipe import amp_type, averaged, learning_rate, make_optimizer
from evaluators.training_state import flat_tensors, load_optimizer, optimizer_tensors, part_of
from nas.trial import Point

CLIP_NORM = 1.0
CHECK_EVERY = 16  # steps between looks at the loss, each of which waits for a GPU
T = TypeVar("T")


class TrainingFailed(RuntimeError):
    """A training that cannot go on; its message is the reason."""


class ProxyTraining:
    """One training of `network` on `dataset`. Iterate over run(), then take `network` and `notes`.

    network: holds the final weights in the end, averaged ones with `ema`. notes: adaptations, such as a halved batch.
    waited_s: time spent waiting for the lease, which counts neither as training nor towards deadline_s.
    """

    def __init__(
        self,
        network: nn.Module,
        dataset: Dataset,
        recipe: Recipe,
        *,
        device: torch.device | str,
        seed: int,
        lease: DeviceLease | None = None,
        deadline_s: float | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.dataset, self.recipe, self.deadline_s = dataset, recipe, deadline_s
        self.notes: list[str] = []
        self.waited_s = 0.0
        self._lease = lease
        self._x, self._y = _resident(dataset.train_x, self.device, self.notes), dataset.train_y.to(self.device)
        self._mean, self._scale = _normalisation(dataset, self.device)
        self._batch = max(1, min(recipe.batch_size, len(self._y)))
        self._chunk = self._batch  # images that go through the network at a time; falls when memory runs out
        self._augment = augmentation(recipe.augment)
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._mixing = np.random.default_rng(seed)
        self._global_rng = _rng_state_of(seed)
        self._amp = amp_type(self.device) if recipe.amp else None
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._amp is torch.float16)
        self._optimizer = make_optimizer(network, recipe, self.device)
        self._average = averaged(network, recipe.ema) if recipe.ema > 0 else None
        self._heads = self._head_penalty() if recipe.head_diversity > 0 else None
        self._per_epoch = len(self._y) // self._batch
        self._step = 0
        self._done = 0  # epochs
        self._spent_s = 0.0  # in an earlier process

    def run(self) -> Iterator[Point]:
        """Train; yields one Point per epoch, with the accuracy on the validation split. Raises TrainingFailed."""
        self._start = time.monotonic() - self._spent_s
        for epoch in range(self._done + 1, self.recipe.epochs + 1):
            with self._own_randomness():
                loss = self._guarded(lambda epoch=epoch: self._epoch(epoch))  # type: ignore[misc]
            accuracy = self._guarded(lambda: self._shrinking(self._validate))
            if epoch == self.recipe.epochs and self._average is not None:
                self.network.load_state_dict(self._average.module.state_dict())
            self._done, self._spent_s = epoch, self._elapsed()
            yield Point(epoch=epoch, loss=loss, accuracy=accuracy, seconds=self._spent_s)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What another process needs to go on after the last epoch: tensors, and the rest as plain JSON."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "network": self.network.state_dict(),
            "optimizer": optimizer_tensors(self._optimizer),
            "random": {"batches": self._generator.get_state(), "layers": self._global_rng},
        }
        if self._average is not None:
            parts["average"] = self._average.state_dict()
        facts = {
            "done": self._done, "step": self._step, "spent_s": self._spent_s, "chunk": self._chunk, "notes": self.notes,
            "mixing": self._mixing.bit_generator.state, "scaler": self._scaler.state_dict(),
        }  # fmt: skip
        return flat_tensors(parts), facts

    def load_state(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """The inverse of state(), for a training made with the same arguments."""
        self.network.load_state_dict(part_of(tensors, "network"))
        load_optimizer(self._optimizer, part_of(tensors, "optimizer"))
        random = part_of(tensors, "random")
        self._generator.set_state(random["batches"])
        self._global_rng = random["layers"]
        if self._average is not None:
            self._average.load_state_dict(part_of(tensors, "average"))
        self._mixing.bit_generator.state = facts["mixing"]
        self._scaler.load_state_dict(facts["scaler"])
        self._done, self._step, self._spent_s = facts["done"], facts["step"], facts["spent_s"]
        self._chunk, self.notes = facts["chunk"], list(facts["notes"])

    def _epoch(self, epoch: int) -> float:
        """One pass over the training split in a fresh order; returns the mean loss."""
        self.network.train()
        order = torch.randperm(len(self._y), generator=self._generator, device=self.device)
        total = torch.zeros((), device=self.device)
        for i in range(self._per_epoch):
            with self._leased():
                total += self._train_step(order[i * self._batch : (i + 1) * self._batch])
            if (i % CHECK_EVERY == 0 or i == self._per_epoch - 1) and not math.isfinite(total.item()):
                raise TrainingFailed(f"loss is not a number in epoch {epoch}")
            if self.deadline_s is not None and self._elapsed() > self.deadline_s:
                raise TrainingFailed(f"time limit of {self.deadline_s:g} s reached in epoch {epoch}")
        return total.item() / self._per_epoch

    def _train_step(self, rows: Tensor) -> Tensor:
        rate = learning_rate(self._step, self.recipe, self._per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        x, y = self._augment(self._take(rows), self._generator), self._y[rows]
        other, weight = self._mixup_partner(len(y))
        loss = self._shrinking(lambda: self._backward(x, y, other, weight))
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update_parameters(self.network)
        self._step += 1
        return loss

    def _backward(self, x: Tensor, y: Tensor, other: Tensor | None, weight: float) -> Tensor:
        """Gradients of the batch's mean loss, gathered over chunks that fit into memory."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device)
        for part in torch.arange(len(y), device=self.device).split(self._chunk):
            images = self._normalise(x[part])
            if other is not None:
                images = torch.lerp(self._normalise(x[other[part]]), images, weight)
            with self._heads or nullcontext(), _autocast(self.device, self._amp):
                logits = self.network(images)
            chunk_loss = self._loss(logits.float(), y[part], None if other is None else y[other[part]], weight)
            if self._heads is not None:
                chunk_loss = chunk_loss + self.recipe.head_diversity * self._heads.value()
            chunk_loss = chunk_loss * (len(part) / len(y))
            self._scaler.scale(chunk_loss).backward()
            loss += chunk_loss.detach()
        return loss

    def _loss(self, logits: Tensor, y: Tensor, other: Tensor | None, weight: float) -> Tensor:
        smoothing = self.recipe.label_smoothing
        loss = F.cross_entropy(logits, y, label_smoothing=smoothing)
        if other is None:
            return loss
        return weight * loss + (1 - weight) * F.cross_entropy(logits, other, label_smoothing=smoothing)

    def _head_penalty(self) -> HeadPenalty | None:
        penalty = HeadPenalty(self.network)
        if penalty.layers:
            return penalty
        self.notes.append("head_diversity has no effect: no layer has two heads")
        return None

    def _mixup_partner(self, size: int) -> tuple[Tensor | None, float]:
        """Rows to mix in and the share of the batch's own images (Zhang et al., ICLR 2018, arXiv 1710.09412)."""
        if self.recipe.mixup == 0:
            return None, 1.0
        partner = torch.randperm(size, generator=self._generator, device=self.device)
        return partner, float(self._mixing.beta(self.recipe.mixup, self.recipe.mixup))

    def _validate(self) -> float:
        network = self.network if self._average is None else self._average.module
        return evaluate_accuracy(
            network, self.dataset.val_x, self.dataset.val_y, self.dataset,
            device=self.device, batch_size=self._chunk, around_batch=self._leased, amp=self._amp,
        )  # fmt: skip

    def _take(self, rows: Tensor) -> Tensor:
        return self._x.index_select(0, rows.to(self._x.device)).to(self.device)

    def _normalise(self, x: Tensor) -> Tensor:
        return (x - self._mean) * self._scale

    def _elapsed(self) -> float:
        return time.monotonic() - self._start - self.waited_s

    def _shrinking(self, work: Callable[[], T]) -> T:
        """Do `work`, again with half as many images at a time whenever memory runs out."""
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not is_out_of_memory(error) or self._chunk == 1:
                    raise
            self._chunk //= 2  # outside the except clause: its traceback holds the tensors that did not fit
            self.notes.append(f"out of memory: {self._chunk} images at a time, accumulated to a batch of {self._batch}")
            self._optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingFailed(f"out of memory with {self._chunk} image(s) at a time") from None

    @contextmanager
    def _leased(self) -> Iterator[None]:
        if self._lease is None:
            yield
            return
        asked = time.monotonic()
        with self._lease.shared():
            self.waited_s += time.monotonic() - asked
            yield
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # work still in the queue would disturb a measurement

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Dropout and stochastic depth draw from the global generators; give them our stream and put theirs back."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.set_rng_state(self._global_rng)
            if devices:
                torch.cuda.manual_seed(int(self._mixing.integers(2**31)))
            yield
            self._global_rng = torch.get_rng_state()


def evaluate_accuracy(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    dataset: Dataset,
    *,
    device: torch.device | str,
    batch_size: int = 256,
    around_batch: Callable[[], AbstractContextManager[None]] = nullcontext,
    amp: torch.dtype | None = None,
) -> float:
    """Share of the uint8 images `x` that the network gives the class `y`; `dataset` says how to normalise.

    around_batch: a context to run every batch in. amp: type to compute in under autocast.
    """
    device = torch.device(device)
    mean, scale = _normalisation(dataset, device)
    was_training, correct = network.training, torch.zeros((), dtype=torch.int64, device=device)
    network.to(device).eval()
    try:
        for images, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
            with around_batch(), torch.inference_mode(), _autocast(device, amp):
                logits = network((images.to(device) - mean) * scale)
                correct += (logits.argmax(1) == labels.to(device)).sum()
    finally:
        network.train(was_training)
    return correct.item() / len(y)


def is_out_of_memory(error: BaseException) -> bool:
    """On a GPU or, as a RuntimeError without a type of its own, on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _normalisation(dataset: Dataset, device: torch.device) -> tuple[Tensor, Tensor]:
    """Offset and factor (1, C, 1, 1) that bring uint8 images to mean 0 and deviation 1 per channel."""
    mean, std = torch.tensor((dataset.mean, dataset.std), device=device)[:, None, :, None, None]
    return 255 * mean, 1 / (255 * std)


def _resident(x: Tensor, device: torch.device, notes: list[str]) -> Tensor:
    try:
        return x.to(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    notes.append("the training images do not fit on the device; they are sent batch by batch")
    return x


def _rng_state_of(seed: int) -> Tensor:
    return torch.Generator().manual_seed(seed).get_state()


def _autocast(device: torch.device, amp: torch.dtype | None) -> AbstractContextManager[object]:
    return nullcontext() if amp is None else torch.autocast(device.type, dtype=amp)
