"""Images per second of proxy training against a plain PyTorch DataLoader loop: same model, pictures, batch and epochs.

The plain loop is what a tutorial writes: pictures decoded in memory as torchvision's CIFAR10 keeps them, each one
cropped, flipped and normalised by Pillow and PyTorch in two loader workers. Both loops validate after every epoch and
take the better of several turns, one after the other.

    python benchmarks/training_throughput.py --device cuda --json throughput.json
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from evaluators.data import Dataset
from evaluators.latency.measure import device_name
from evaluators.proxy_training import ProxyTraining, Recipe
from evaluators.recipe import amp_type
from nas.genotype import Atom, Genotype, Stage
from search_spaces.model import build

Loop = Callable[[Dataset, Recipe, torch.device], None]
SIDE, CLASSES, PADDING, LOADER_WORKERS = 32, 10, 4, 2


def main() -> None:
    options = _options()
    device, data = torch.device(options.device), make_pictures(options.images)
    recipe = Recipe(epochs=options.epochs, batch_size=options.batch, warmup_epochs=0, augment=("crop", "flip"))
    loops = {"proxy_training": proxy_loop, "plain_loop": plain_loop}
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(options.turns):
        for name, loop in loops.items():
            speeds[name].append(images_per_second(loop, data, recipe, device))
    figures = {name: max(values) for name, values in speeds.items()}
    ratio = figures["proxy_training"] / figures["plain_loop"]
    found = {
        "images_per_s": figures, "ratio": ratio, "device": device_name(device), "threads": torch.get_num_threads(),
        "images": options.images, "batch": options.batch, "epochs": options.epochs, "turns": options.turns,
        "torch": torch.__version__,
    }  # fmt: skip
    for name, speed in figures.items():
        print(f"{name:>15}: {speed:9.0f} images/s")
    print(f"{'ratio':>15}: {ratio:9.2f} on {found['device']}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def images_per_second(loop: Loop, data: Dataset, recipe: Recipe, device: torch.device) -> float:
    start = time.perf_counter()
    loop(data, recipe, device)
    return recipe.epochs * len(data.train_y) / (time.perf_counter() - start)


def proxy_loop(data: Dataset, recipe: Recipe, device: torch.device) -> None:
    list(ProxyTraining(make_network(), data, recipe, device=device, seed=0).run())


def plain_loop(data: Dataset, recipe: Recipe, device: torch.device) -> None:
    """As ProxyTraining in the arithmetic: AdamW, cosine, label smoothing, clipping, mixed precision on a GPU."""
    network = make_network().to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    common: dict[str, Any] = {
        "batch_size": recipe.batch_size, "num_workers": LOADER_WORKERS, "persistent_workers": True,
        "pin_memory": device.type == "cuda",
    }  # fmt: skip
    train = DataLoader(Pictures(data.train_x, data.train_y, data, augment=True), shuffle=True, drop_last=True, **common)
    validation = DataLoader(Pictures(data.val_x, data.val_y, data, augment=False), **common)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * len(train))
    for _ in range(recipe.epochs):
        network.train()
        for images, labels in moved(train, device):
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype=amp_type(device), enabled=device.type == "cuda"):
                logits = network(images)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            correct = sum((network(x).argmax(1) == y).sum() for x, y in moved(validation, device))
        assert 0 <= int(correct) <= len(data.val_y)


def moved(loader: DataLoader, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for images, labels in loader:
        yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


class Pictures(TorchDataset):
    """Pictures one at a time, each transformed on its own."""

    def __init__(self, x: Tensor, y: Tensor, data: Dataset, augment: bool) -> None:
        self.pixels, self.labels, self.augment = x.permute(0, 2, 3, 1).contiguous().numpy(), y, augment
        self.mean, self.std = (torch.tensor(v)[:, None, None] for v in (data.mean, data.std))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        picture = Image.fromarray(self.pixels[i])
        if self.augment:
            left, top = torch.randint(2 * PADDING + 1, (2,)).tolist()
            picture = ImageOps.expand(picture, PADDING).crop((left, top, left + SIDE, top + SIDE))
            picture = ImageOps.mirror(picture) if torch.rand(()) < 0.5 else picture
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
        return (image - self.mean) / self.std, self.labels[i]


def make_network() -> nn.Module:
    """A plain vision transformer of 0.2 million parameters on 64 tokens."""
    stage = Stage(width=64, depth=6, head_dim=32, ffn=Atom("mlp", ratio=2))
    genotype = Genotype(topology="plain", stem=Atom("patch", size=4), stages=(stage,), position=Atom("learned"))
    return build(genotype, image_size=SIDE, in_chans=3, classes=CLASSES)


def make_pictures(count: int) -> Dataset:
    """Random pixels: speed does not depend on what the pictures show."""
    generator = torch.Generator().manual_seed(0)
    sizes = (count, max(1, count // 10))
    x, val_x = (torch.randint(256, (n, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8) for n in sizes)
    y, val_y = (torch.randint(CLASSES, (n,), generator=generator) for n in sizes)
    return Dataset(
        name="random", class_names=tuple(map(str, range(CLASSES))), train_x=x, train_y=y, val_x=val_x, val_y=val_y,
        test_x=None, test_y=None, mean=(0.5,) * 3, std=(0.3,) * 3, notes=(), fingerprint="",
    )  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=10_000, help="training pictures")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--turns", type=int, default=2, help="how often each loop runs; the better time counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
