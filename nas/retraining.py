"""`nas train`: an exported architecture trained in full, from fresh weights, resumable after every epoch."""

import csv
import io
import json
import sys
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from evaluators.data import Dataset, load_dataset
from evaluators.proxy_training import ProxyTraining, Recipe, TrainingFailed, evaluate_accuracy
from nas.architecture import ArchitectureConfig, Conditions, Measured, make_config, read_config, save_config
from nas.environment import device_name
from nas.errors import UserError
from nas.state_file import read_state, write_state, write_tensors
from nas.trial import Point

WARMUP_SHARE = 0.05  # of the epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """What a training left in `output`. accuracy: on the validation split; test_accuracy: None without a test split."""

    output: Path
    accuracy: float
    test_accuracy: float | None
    epochs: int
    seconds: float
    notes: tuple[str, ...]

    def __str__(self) -> str:
        test = "" if self.test_accuracy is None else f", {self.test_accuracy:.4f} on the test split"
        return f"{self.output}: accuracy {self.accuracy:.4f} after {self.epochs} epochs{test}"


def train_config(
    config_path: str | Path,
    data: str,
    *,
    epochs: int = 100,
    output: str | Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    resume: bool = True,
) -> TrainedModel:
    """Train the architecture of a config on `data` (a built-in name or a path) and test it at the end.

    Writes model.safetensors, config.yaml, history.csv and summary.json to `output`, by default runs/train-NAME. The
    recipe is the one the architecture was searched with, over `epochs`. Called again it goes on where it stopped.
    Raises UserError for a config, data or device that cannot be used, and when the training fails.
    """
    config = read_config(config_path)
    device = _device(device)
    dataset, notes = _dataset(config, data, seed)
    recipe = _recipe(config, epochs, batch_size, lr)
    folder = Path(output) if output is not None else Path("runs") / f"train-{_slug(config.name)}"
    session = _Session(config, dataset, recipe, device=device, seed=seed, source=data, folder=folder, notes=notes)
    return session.run(resume)


class _Session:
    """One training and its folder."""

    def __init__(
        self,
        config: ArchitectureConfig,
        dataset: Dataset,
        recipe: Recipe,
        *,
        device: str,
        seed: int,
        source: str,
        folder: Path,
        notes: tuple[str, ...],
    ) -> None:
        self.config, self.dataset, self.recipe = config, dataset, recipe
        self.device, self.seed, self.source, self.folder, self.notes = device, seed, source, folder, notes
        self.points: list[Point] = []
        self.checkpoint = folder / "checkpoint.safetensors"
        self.identity = {
            "genotype": config.network.hash(), "data": dataset.fingerprint, "classes": dataset.classes, "seed": seed,
            **json.loads(json.dumps(asdict(recipe))),
        }  # fmt: skip

    def run(self, resume: bool) -> TrainedModel:
        finished = self._finished() if resume else None
        if finished is not None:
            _say(f"{self.folder}: trained already")
            return finished
        network = self.config.build(seed=self.seed, drop_path=self.recipe.drop_path, classes=self.dataset.classes)
        training = ProxyTraining(network, self.dataset, self.recipe, device=self.device, seed=self.seed)
        self._open(training, resume)
        try:
            for point in training.run():
                self.points.append(point)
                self._keep(training)
                _say(_line(point, self.recipe.epochs))
        except TrainingFailed as error:
            raise UserError(f"{self.folder}: the training failed: {error}") from None
        except KeyboardInterrupt:
            _say(f"stopped after epoch {len(self.points)}; the same command goes on from there")
            raise
        return self._finish(training)

    def _open(self, training: ProxyTraining, resume: bool) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror})") from None
        for note in self.notes:
            _say(note)
        if resume and self.checkpoint.is_file():
            tensors, facts = read_state(self.checkpoint)
            self._check_same(facts["identity"])
            training.load_state(tensors, facts["training"])
            self.points = [Point(**p) for p in facts["points"]]
            _say(f"{self.folder}: going on after epoch {len(self.points)}")

    def _keep(self, training: ProxyTraining) -> None:
        """State and history after an epoch, each file whole or not at all."""
        tensors, state = training.state()
        facts = {"identity": self.identity, "training": state, "points": [asdict(p) for p in self.points]}
        write_state(self.checkpoint, tensors, facts)
        _write(self.folder / "history.csv", _csv(self.points))

    def _finish(self, training: ProxyTraining) -> TrainedModel:
        data, test = self.dataset, None
        if data.test_x is not None and data.test_y is not None:
            test = evaluate_accuracy(
                training.network, data.test_x, data.test_y, data, device=self.device, batch_size=self.recipe.batch_size
            )
        trained = TrainedModel(
            output=self.folder, accuracy=self.points[-1].accuracy, test_accuracy=test, epochs=self.recipe.epochs,
            seconds=self.points[-1].seconds, notes=(*self.notes, *training.notes),
        )  # fmt: skip
        write_tensors(self.folder / "model.safetensors", training.network.state_dict())
        save_config(self._trained_config(trained), self.folder / "config.yaml")
        summary = {"identity": self.identity, **asdict(trained), "output": "."}
        _write(self.folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        self.checkpoint.unlink(missing_ok=True)
        return trained

    def _trained_config(self, trained: TrainedModel) -> ArchitectureConfig:
        conditions = Conditions(
            kind="full training", date=datetime.now(UTC).isoformat(timespec="seconds"), data=self.source,
            fingerprint=self.dataset.fingerprint, device=device_name(self.device), seed=self.seed,
            recipe=json.loads(json.dumps(asdict(self.recipe))),
        )  # fmt: skip
        return make_config(
            self.config.network, name=self.config.name, image_size=self.dataset.image_size,
            in_chans=self.dataset.in_chans, classes=self.dataset.class_names, mean=self.dataset.mean,
            std=self.dataset.std, weights="model.safetensors", notes=trained.notes,
            measured=Measured(
                values={"accuracy": trained.accuracy}, test_accuracy=trained.test_accuracy, conditions=conditions
            ),
        )  # fmt: skip

    def _finished(self) -> TrainedModel | None:
        path = self.folder / "summary.json"
        if not path.is_file():
            return None
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            self._check_same(summary.pop("identity"))
            return TrainedModel(**summary | {"output": self.folder, "notes": tuple(summary["notes"])})
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(f"{path}: damaged ({error}); remove it or choose another --output") from None

    def _check_same(self, found: dict[str, Any]) -> None:
        found = asdict(Recipe()) | found  # a setting that a later version brought had its default before
        changed = [f"{k} {found.get(k)} -> {v}" for k, v in self.identity.items() if found.get(k) != v]
        if changed:
            raise UserError(f"{self.folder}: holds another training ({', '.join(changed)}); choose another --output")


def _dataset(config: ArchitectureConfig, source: str, seed: int) -> tuple[Dataset, tuple[str, ...]]:
    """The data at the architecture's input size, and what differs from those it was found on."""
    height, width = config.input.grid
    if height != width:
        raise UserError(f"{config.name}: built for {height}x{width} images; training takes square ones")
    dataset = read_option(source, image_size=height, in_chans=config.input.in_chans, seed=seed)
    if dataset.class_names == config.classes:
        return dataset, dataset.notes
    change = f"the data have {dataset.classes} classes where the file has {len(config.classes)}"
    if dataset.classes == len(config.classes):
        change = "the data have classes of other names"
    return dataset, (*dataset.notes, f"{change}: the head is made for the data's")


def read_option(source: str, **how: Any) -> Dataset:
    """The data that --data names; a mistake is one of that option, and not of a campaign file."""
    try:
        return load_dataset(source, **how)
    except UserError as error:
        raise UserError(str(error).replace("data.source", "--data", 1)) from None


def _recipe(config: ArchitectureConfig, epochs: int, batch_size: int | None, lr: float | None) -> Recipe:
    """What the search trained with, stretched over the epochs, or the defaults where it is unknown."""
    known = config.measured.conditions.recipe if config.measured is not None else {}
    names = {f.name for f in fields(Recipe)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items() if k in names}
    values |= {"epochs": epochs, "warmup_epochs": WARMUP_SHARE * epochs}
    values |= {k: v for k, v in (("batch_size", batch_size), ("lr", lr)) if v is not None}
    return Recipe(**values)


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        index = torch.device(wanted).index or 0
    except RuntimeError:
        raise UserError(f"--device: unknown device {wanted!r}; choices: auto, cpu, cuda, cuda:N") from None
    if wanted.startswith("cuda") and index >= torch.cuda.device_count():
        raise UserError(f"--device: no GPU for {wanted!r} here; choices: auto, cpu")
    return wanted


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _csv(points: list[Point]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Point)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(p) for p in points)
    return text.getvalue()


def _line(point: Point, epochs: int) -> str:
    return f"epoch {point.epoch}/{epochs}  loss {point.loss:.4f}  accuracy {point.accuracy:.4f}  {point.seconds:.0f} s"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
