"""An architecture as a YAML file: everything it takes to build it again, what was measured, and how."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from nas.campaign_errors import first_error
from nas.environment import environment
from nas.errors import UserError
from nas.genotype import Genotype
from nas.objective import is_metric, metric_of
from nas.settings import as_tuple
from nas.yaml_file import Document, read_yaml

if TYPE_CHECKING:
    from search_spaces.model import Network

FORMAT = "vitnas-architecture"
VERSION = 1
_RECORDED = ("vitnas", "torch", "numpy", "python")

Numbers = Annotated[tuple[float, ...], BeforeValidator(as_tuple)]
Words = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
Sides = Annotated[int | tuple[int, int], BeforeValidator(as_tuple)]


class Section(BaseModel):
    """Each field's description completes the sentence "expected ..."."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Input(Section):
    """What the network is fed: images of one size, normalised per channel: (pixel - mean) / std, pixels in 0..1."""

    image_size: Sides = Field(description="a number of pixels, or [height, width]")
    in_chans: int = Field(ge=1, description="a whole number of channels of at least 1")
    mean: Numbers = Field(description="a list of one number per channel")
    std: Numbers = Field(description="a list of one number above 0 per channel")

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width)."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size


class Conditions(Section):
    """Under which the values were measured."""

    campaign: str | None = Field(default=None, description="a name")
    trial: int | None = Field(default=None, description="a whole number")
    kind: str = Field(description="search, reference or full training")
    date: str = Field(description="a date and time")
    data: str = Field(description="the name of a data set or a path")
    fingerprint: str | None = Field(default=None, description="the data set's fingerprint")
    limit: int | None = Field(default=None, description="a number of training pictures")
    device: str = Field(description="the name of a device")
    seed: int = Field(description="a whole number")
    recipe: dict[str, Any] = Field(description="a mapping")
    latency: dict[str, Any] | None = Field(default=None, description="a mapping")


class Measured(Section):
    """Results by metric, with 90 % intervals where there are any."""

    values: dict[str, float] = Field(description="a mapping from metric to number")
    intervals: dict[str, tuple[float, float]] = Field(default={}, description="a mapping from metric to [low, high]")
    test_accuracy: float | None = Field(default=None, description="a fraction from 0 to 1")
    conditions: Conditions = Field(description="a mapping")

    def lines(self) -> Iterator[str]:
        """For people, one metric a line."""
        c = self.conditions
        place = "a full training" if c.campaign is None else f"trial {c.trial} of {c.campaign}"
        yield f"Measured in {place} ({c.date}) on {c.data}, {c.device}, seed {c.seed}:"
        for name, value in self.values.items():
            yield f"  {metric_of(name).label if is_metric(name) else name}: {value:.4g}"
        if self.test_accuracy is not None:
            yield f"  Accuracy on the test split: {self.test_accuracy:.4g}"


class ArchitectureConfig(Section):
    """The content of an exported architecture file."""

    format: str = Field(default=FORMAT, pattern=f"^{FORMAT}$", description=f"the word {FORMAT}")
    version: int = Field(default=VERSION, ge=1, le=VERSION, description=f"the version of the format, {VERSION}")
    name: str = Field(min_length=1, description="a name")
    genotype: dict[str, Any] = Field(description="a mapping with topology, stem, stages, ...")
    input: Input = Field(description="a mapping with image_size, in_chans, mean, std")
    classes: Words = Field(min_length=1, description="a list of class names")
    architecture: tuple[dict[str, Any], ...] = Field(default=(), description="a list of mappings, one for each stage")
    measured: Measured | None = Field(default=None, description="a mapping with values, conditions")
    versions: dict[str, str | None] = Field(default={}, description="a mapping from package to version")
    hash: str = Field(default="", description="the letter g and eleven hexadecimal digits")
    notes: Words = Field(default=(), description="a list of sentences")
    weights: str | None = Field(default=None, description="a path relative to this file")

    @field_validator("genotype")
    @classmethod
    def _check_genotype(cls, value: dict[str, Any]) -> dict[str, Any]:
        return Genotype.from_json(value).to_json()

    @property
    def network(self) -> Genotype:
        """The genotype as a value."""
        return Genotype.from_json(self.genotype)

    def build(self, *, seed: int = 0, drop_path: float = 0.0, classes: int | None = None) -> "Network":
        """The network with fresh weights. classes: another number of outputs than the file's. Raises UserError."""
        from search_spaces.model import build

        count = classes or len(self.classes)
        shape = {"image_size": self.input.grid, "in_chans": self.input.in_chans}
        try:
            return build(self.network, **shape, classes=count, drop_path=drop_path, seed=seed)  # type: ignore[arg-type]
        except (TypeError, AssertionError) as error:
            raise UserError(f"{self.name}: genotype: {error}") from None

    def describe(self) -> str:
        """One line: the stages, the input and the outputs."""
        height, width = self.input.grid
        return f"{self.network}, {height}x{width}x{self.input.in_chans} -> {len(self.classes)} classes"

    def to_yaml(self) -> str:
        data = self.model_dump(mode="json")
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def make_config(
    genotype: Genotype,
    *,
    name: str,
    image_size: int | tuple[int, int],
    in_chans: int,
    classes: Sequence[str],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **more: Any,
) -> ArchitectureConfig:
    """The config of any architecture; without `mean` and `std` pixels keep their scale of 0 to 1."""
    return ArchitectureConfig(
        name=name,
        genotype=genotype.to_json(),
        input=Input(
            image_size=image_size,
            in_chans=in_chans,
            mean=tuple(mean or [0.0] * in_chans),
            std=tuple(std or [1.0] * in_chans),
        ),
        classes=tuple(classes),
        architecture=tuple(_stages(genotype, image_size)),
        hash=genotype.hash(),
        **{"versions": recorded_versions(environment("cpu")), **more},
    )


def save_config(config: ArchitectureConfig, path: Path) -> Path:
    """Write whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(config.to_yaml(), encoding="utf-8")
    return partial.replace(path)


def read_config(path: str | Path) -> ArchitectureConfig:
    """Read an architecture file strictly; raises UserError naming file, line and key."""
    document = read_yaml(Path(path), "architecture file")
    _check_version(document)
    try:
        config = ArchitectureConfig.model_validate(document.data)
    except ValidationError as error:
        raise first_error(error, ArchitectureConfig, document) from None
    _check_consistent(config, document)
    return config


def _check_version(document: Document) -> None:
    """Before all else: a newer file may have keys that this vitnas does not know."""
    found, version = document.data.get("format"), document.data.get("version", VERSION)
    if found != FORMAT:
        raise UserError(f"{document.name}: not an architecture file (format: {FORMAT}); nas export writes them")
    if isinstance(version, int) and version > VERSION:
        place = document.place(("version",))
        raise UserError(f"{place}: written by a newer vitnas (version {version}); this one reads up to {VERSION}")


def _check_consistent(config: ArchitectureConfig, document: Document) -> None:
    """What one key alone cannot show: the mechanisms exist, the image leaves tokens, one mean per channel."""
    import torch

    for key in ("mean", "std"):
        if len(getattr(config.input, key)) != config.input.in_chans:
            place = document.place(("input", key))
            raise UserError(f"{place}: input.{key}: expected {config.input.in_chans} numbers, one for each channel")
    if min(config.input.std) <= 0:
        raise UserError(f"{document.place(('input', 'std'))}: input.std: expected numbers above 0")
    try:
        with torch.device("meta"):
            config.build()
    except (UserError, TypeError, KeyError, ZeroDivisionError) as error:
        raise UserError(f"{document.place(('genotype',))}: genotype: {error}") from None


def _stages(genotype: Genotype, image_size: int | tuple[int, int]) -> Iterator[dict[str, Any]]:
    """The resolved architecture, for reading."""
    from search_spaces.plan import plan

    for number, resolved in enumerate(plan(genotype, image_size=image_size).stages, start=1):
        stage = resolved.stage
        yield {
            "stage": number,
            "grid": list(resolved.grid),
            "width": stage.width,
            "depth": stage.depth,
            "heads": stage.heads,
            "tokens": resolved.blocks[0].shape.length,
            "blocks": [" | ".join(map(str, block.mixers)) for block in resolved.blocks],
            "ffn": str(stage.ffn),
        }


def recorded_versions(found: dict[str, Any]) -> dict[str, str | None]:
    versions = found.get("versions", {})
    return {name: versions.get(name) for name in _RECORDED} | {"commit": found.get("commit")}
