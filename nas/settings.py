"""The sections of a campaign file, one frozen value each; their defaults are a small search on a small machine."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from nas.errors import UserError


def as_tuple(value: object) -> object:
    """YAML has lists; a frozen value holds tuples."""
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
Choice = bool | int | float | str


class Section(BaseModel):
    """Each field's description completes the sentence "expected ..."."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSettings(Section):
    """Which pictures, and how they are split."""

    source: str = Field(min_length=1, description="the name of a built-in data set or a path")
    image_size: int | None = Field(default=None, ge=4, le=4096, description="a whole number of pixels from 4 to 4096")
    validation: float = Field(default=0.2, gt=0, le=0.5, description="a fraction above 0 and at most 0.5")
    limit: int | None = Field(default=None, ge=10, description="a whole number of training pictures of at least 10")
    in_chans: int | None = Field(default=None, ge=1, le=64, description="a whole number of channels from 1 to 64")


class SpaceSettings(Section):
    """Which space, and which of its dimensions are fixed to one choice or narrowed to a few."""

    name: str = Field(default="vit_small", description="the name of a space")
    fix: dict[str, Choice] = Field(default={}, description="a mapping from dimension to its one choice")
    narrow: dict[str, Annotated[tuple[Choice, ...], BeforeValidator(as_tuple)]] = Field(
        default={}, description="a mapping from dimension to a list of choices"
    )

    @model_validator(mode="after")
    def _not_both(self) -> "SpaceSettings":
        for name in self.narrow.keys() & self.fix.keys():
            raise UserError(f"space.narrow.{name}: {name!r} is already fixed by space.fix; remove one of them")
        return self


class SamplerSettings(Section):
    """Who proposes the next architecture."""

    name: str = Field(default="pareto", description="the name of a sampler")
    startup: int = Field(default=12, ge=1, description="a whole number of first trials of at least 1")
    population: int = Field(default=16, ge=4, description="a whole number of parents of at least 4")
    scores: Names = Field(default=(), description="a list of zero-cost scores such as [naswot, jacov]")


class FidelitySettings(Section):
    """Which trials are trained over the whole schedule."""

    name: str = Field(default="none", description="the name of a rule")
    rungs: Annotated[tuple[float, ...], BeforeValidator(as_tuple)] = Field(
        default=(0.25, 0.5), min_length=1, description="a rising list of shares of the schedule such as [0.1, 0.5]"
    )
    keep: float = Field(default=0.5, gt=0, lt=1, description="a share above 0 and below 1")
    threshold: float = Field(default=0.05, gt=0, lt=1, description="a probability above 0 and below 1")
    startup: int = Field(default=12, ge=10, description="a whole number of trials trained in full of at least 10")
    check: float = Field(default=0.1, ge=0, le=1, description="a share from 0 to 1")

    @field_validator("rungs")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < share < 1 for share in value) or any(a >= b for a, b in pairwise(value)):
            raise UserError(f"fidelity.rungs: expected rising shares above 0 and below 1, found {list(value)}")
        return value


class Budget(Section):
    """The search ends with whichever is used up first. One trial is the training of one whole schedule."""

    trials: int = Field(default=50, ge=1, description="a whole number of at least 1")
    minutes: float = Field(default=60.0, gt=0, description="a number of minutes above 0, without a unit")


class TrainingSettings(Section):
    """The recipe of one trial, the same for all of them."""

    epochs: int = Field(default=30, ge=1, description="a whole number of at least 1")
    batch_size: int = Field(default=64, ge=1, description="a whole number of at least 1")
    lr: float = Field(default=2e-3, gt=0, description="a number above 0")
    weight_decay: float = Field(default=0.05, ge=0, description="a number of at least 0")
    warmup_epochs: float = Field(default=3.0, ge=0, description="a number of at least 0")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="a fraction of at least 0 and below 1")
    mixup: float = Field(default=0.0, ge=0, description="a number of at least 0 (0 is off)")
    ema: float = Field(default=0.0, ge=0, lt=1, description="a decay of at least 0 (0 is off) and below 1")
    augment: Names = Field(default=("crop", "flip"), description="a list of augmentations such as [crop, flip]")
    amp: bool = Field(default=True, description="true or false")
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="a fraction of at least 0 and below 1")
    head_diversity: float = Field(default=0.0, ge=0, description="a weight of at least 0 (0 is off)")


class LatencySection(Section):
    """How latency is measured."""

    batch: int = Field(default=1, ge=1, description="a whole number of at least 1")
    threads: int = Field(default=1, ge=1, description="a whole number of at least 1")
    rounds: int = Field(default=150, ge=1, description="a whole number of at least 1")
    warmup: int = Field(default=10, ge=0, description="a whole number of at least 0")
    seconds: float = Field(default=10.0, gt=0, description="a number of seconds above 0, without a unit")
    watts: float | None = Field(default=None, gt=0, description="the device's power, a number of watts above 0")


class SourceSettings(Section):
    """Where the cost of a device comes from. minutes: to make a profile that is not there yet."""

    source: Literal["measured", "profile"] = Field(description="measured or profile")
    file: str | None = Field(default=None, min_length=1, description="the path of a profile such as phone.json")
    minutes: float | None = Field(default=None, ge=1, description="a number of minutes of at least 1")
    force: bool = Field(default=False, description="true or false")


class ExecutionSettings(Section):
    """Where trials run, and with how much of the machine."""

    backend: Literal["ray", "inline"] = Field(default="ray", description="ray or inline")
    workers: int = Field(default=1, ge=1, description="a whole number of at least 1")
    cpus: float = Field(default=1.0, ge=0, description="a number of processor cores per trial of at least 0")
    gpus: float = Field(default=0.0, ge=0, description="a number or fraction of GPUs per trial of at least 0")
    address: str | None = Field(default=None, description="the address of a Ray cluster such as auto or 10.0.0.1:6379")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda|cuda:\d+)$", description="auto, cpu, cuda or cuda:N")
    trial_minutes: float | None = Field(default=None, gt=0, description="a number of minutes above 0, without a unit")
