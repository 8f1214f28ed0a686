"""The campaign file: what to search, on what, for how long. Every mistake is one line with its place."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from nas.campaign_errors import first_error, placed
from nas.cost_sources import (
    check_files,
    check_sources,
    gather_places,
    gathered,
    measured_by_default,
    read_sources,
    resolve_files,
)
from nas.errors import UserError, unknown
from nas.objective import METRICS, Constraint, Objective, is_metric, metric_of
from nas.overrides import override
from nas.settings import (
    Budget,
    DataSettings,
    ExecutionSettings,
    FidelitySettings,
    LatencySection,
    Names,
    SamplerSettings,
    Section,
    SourceSettings,
    SpaceSettings,
    TrainingSettings,
    as_tuple,
)
from nas.yaml_file import Document, read_yaml

VERSION = 1
DEFAULT_OBJECTIVES = {"accuracy": "maximize", "latency_ms": "minimize"}
_MAY_CHANGE = ("name", "budget.", "execution.")  # on resume: none of them changes what a trial means
_MAY_NOT_CHANGE = ("execution.device",)  # latencies of two devices do not belong on one front


def _directions(value: object) -> object:
    """`[accuracy, macs_g]` means the usual directions."""
    if not isinstance(value, list | tuple):
        return value
    doubled = next((n for i, n in enumerate(value) if n in value[:i]), None)
    if doubled is not None:
        raise UserError(f"objectives: {doubled!r} is named twice")
    return {n: metric_of(n).direction if is_metric(n) else "minimize" for n in value if isinstance(n, str)}


Limits = Annotated[str | tuple[str, ...], BeforeValidator(as_tuple)]


class Campaign(Section):
    """One search, fully described."""

    version: int = Field(default=VERSION, ge=1, le=VERSION, description=f"the version of the format, {VERSION}")
    name: str = Field(
        default="campaign",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="a folder name of letters, digits, . _ -",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="a whole number of at least 0")
    data: DataSettings = Field(description="a mapping with at least source")
    space: SpaceSettings = Field(default=SpaceSettings(), description="a mapping with name, fix, narrow")
    objectives: Annotated[dict[str, str], BeforeValidator(_directions)] = Field(
        default=DEFAULT_OBJECTIVES,
        description="a list such as [accuracy, latency_ms] or a mapping from metric to its direction",
    )
    constraints: dict[str, Limits] = Field(default={}, description='a mapping from metric to a limit such as "<= 2"')
    sources: Annotated[dict[str, SourceSettings], BeforeValidator(read_sources)] = Field(
        default={}, description="a mapping from metric to a source such as {source: profile, file: phone.json}"
    )
    sampler: SamplerSettings = Field(default=SamplerSettings(), description="a mapping such as {name: pareto}")
    budget: Budget = Field(default=Budget(), description="a mapping with trials, minutes")
    training: TrainingSettings = Field(default=TrainingSettings(), description="a mapping with epochs, lr, ...")
    fidelity: FidelitySettings = Field(
        default=FidelitySettings(), description="a mapping such as {name: halving, rungs: [0.1, 0.5]}"
    )
    latency: LatencySection = Field(default=LatencySection(), description="a mapping with batch, threads, rounds, ...")
    execution: ExecutionSettings = Field(default=ExecutionSettings(), description="a mapping with workers, cpus, ...")
    references: Names = Field(default=(), description="a list of names from the zoo")

    @model_validator(mode="before")
    @classmethod
    def _gather_sources(cls, data: Any) -> Any:
        return measured_by_default(gathered(data), DEFAULT_OBJECTIVES) if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _check_sources(self) -> "Campaign":
        check_sources(
            self.sources, dict.fromkeys(self.constraints, "constraints") | dict.fromkeys(self.objectives, "objectives")
        )
        return self

    @field_validator("objectives")
    @classmethod
    def _check_objectives(cls, value: dict[str, str]) -> dict[str, str]:
        _objectives(value)
        return value

    @field_validator("constraints")
    @classmethod
    def _check_constraints(cls, value: dict[str, Limits]) -> dict[str, Limits]:
        _refuse_contradictions(_constraints(value))
        return value

    @field_validator("references")
    @classmethod
    def _check_references(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for i, name in enumerate(value):
            if name in value[:i]:
                raise UserError(f"references: {name!r} is named twice")
        return value

    @property
    def objective_list(self) -> tuple[Objective, ...]:
        return _objectives(self.objectives)

    @property
    def constraint_list(self) -> tuple[Constraint, ...]:
        return _constraints(self.constraints)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the objectives and, after them, of the other metrics that a constraint limits."""
        limited = [c.metric for c in self.constraint_list]
        return tuple(dict.fromkeys([*(o.name for o in self.objective_list), *limited]))

    def measured(self) -> tuple[str, ...]:
        """The metrics that are measured on the campaign's device before a trial is trained."""
        return tuple(n for n in self.metrics if n in self.sources and self.sources[n].source == "measured")

    def predicted(self) -> dict[str, SourceSettings]:
        """The metrics that a profile predicts before a trial starts, with where it is."""
        used = {n: self.sources[n] for n in self.metrics if n in self.sources}
        return {n: source for n, source in used.items() if source.source == "profile"}

    def to_yaml(self) -> str:
        """Every setting, defaults included; reading it back gives an equal campaign."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def load_campaign(path: str | Path, overrides: Sequence[str] = ()) -> Campaign:
    """Read a campaign file with `key.path=value` overrides; raises UserError naming file, line and key."""
    document = campaign_document(Path(path), overrides)
    try:
        return Campaign.model_validate(document.data)
    except ValidationError as error:
        if ("name",) not in document.places and any(e["loc"] == ("name",) for e in error.errors()):
            raise UserError(
                f"{path}: the file's name is no folder name of letters, digits, . _ -; give one with --name or `name:`"
            ) from None
        raise first_error(error, Campaign, document) from None


def campaign_document(path: Path, overrides: Sequence[str] = ()) -> Document:
    """The file's values with overrides, the default name and resolved data path, and the place of each key."""
    document = read_yaml(path, "campaign file")
    with _placed_in(document):
        gather_places(document)
        for text in overrides:
            override(document, Campaign, text)
            gather_places(document, replacing=True)
    version = document.data.get("version", VERSION)
    if isinstance(version, int) and version > VERSION:
        place = document.place(("version",))
        raise UserError(f"{place}: version: {version} is newer than this vitnas reads ({VERSION}); update vitnas")
    document.data.setdefault("name", path.stem)
    data = document.data.get("data")
    if isinstance(data, dict) and isinstance(data.get("source"), str):
        data["source"] = _resolved(data["source"], path.parent)
    resolve_files(document, path.parent)
    return document


def check_names(campaign: Campaign, path: str | Path | None = None, overrides: Sequence[str] = ()) -> None:
    """Check the names of space, sampler, references and data against what is registered (this imports torch).

    With `path` and `overrides` as given to `load_campaign`, the UserError also says where the name was written.
    """
    with placing_errors(path, overrides) if path else nullcontext():
        _check_registered(campaign)


@contextmanager
def placing_errors(path: str | Path, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Add file and line to a UserError raised inside whose message begins with a key, such as `space.fix.stem: ...`."""
    try:
        yield
    except UserError as error:
        raise _placed(error, campaign_document(Path(path), overrides)) from None


@contextmanager
def _placed_in(document: Document) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise _placed(error, document) from None


def _placed(error: UserError, document: Document) -> UserError:
    """The error with its place, where it begins with a key of the campaign."""
    key = str(error).partition(":")[0].partition(".")[0]
    return placed(str(error), document) if key in Campaign.model_fields else error


def differences(old: Campaign, new: Campaign) -> list[str]:
    """Lines such as `budget.trials: 40 -> 60`."""
    before, after = (dict(_flat(c.model_dump(mode="json"))) for c in (old, new))
    keys = [*before, *(k for k in after if k not in before)]
    changed = [k for k in keys if before.get(k, _ABSENT) != after.get(k, _ABSENT)]
    return [f"{k}: {_shown(before.get(k, _ABSENT))} -> {_shown(after.get(k, _ABSENT))}" for k in changed]


def refused_changes(old: Campaign, new: Campaign) -> list[str]:
    """The differences that make it another campaign: all but budget, execution other than the device, and name."""
    return [line for line in differences(old, new) if not _resumable(line)]


_ABSENT = object()


def _resumable(line: str) -> bool:
    key = line.partition(": ")[0]
    return key.startswith(_MAY_CHANGE) and not key.startswith(_MAY_NOT_CHANGE)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield prefix + key, item


def _shown(value: object) -> str:
    return "absent" if value is _ABSENT else repr(value)


def _objectives(directions: Mapping[str, str]) -> tuple[Objective, ...]:
    """Two or three, accuracy among them, each in its usual direction."""
    found = tuple(Objective(name=n, direction=d) for n, d in directions.items())
    if "accuracy" not in directions or len(found) not in (2, 3):
        costs = ", ".join(n for n in METRICS if n != "accuracy")
        names = ", ".join(directions) or "none"
        raise UserError(f"objectives: expected accuracy and one or two of {costs}, found {names}")
    for o in found:
        if o.direction != o.metric.direction:
            raise UserError(f"objectives.{o.name}: expected {o.metric.direction}, found {o.direction}")
    return found


def _constraints(limits: Mapping[str, Limits]) -> tuple[Constraint, ...]:
    pairs = [(m, text) for m, texts in limits.items() for text in ([texts] if isinstance(texts, str) else texts)]
    return tuple(Constraint.parse(m, text) for m, text in pairs)


def _refuse_contradictions(constraints: Sequence[Constraint]) -> None:
    """No value may be ruled out by the limits themselves; a metric is never negative and accuracy is a fraction."""
    for metric in dict.fromkeys(c.metric for c in constraints):
        limits = [c for c in constraints if c.metric == metric]
        for c in limits:
            if metric == "accuracy" and not 0 <= c.bound <= 1:
                raise UserError(f"constraints.accuracy: accuracy is a fraction from 0 to 1, found {c.bound:g}")
            if c.bound < 0 or (c.operator == "<" and c.bound == 0):
                raise UserError(f"constraints.{metric}: nothing can satisfy {str(c)!r}; expected a limit above 0")
        low = max((c for c in limits if c.operator == ">"), key=lambda c: c.bound, default=None)
        high = min((c for c in limits if c.operator == "<"), key=lambda c: c.bound, default=None)
        if low and high and low.bound > high.bound:
            raise UserError(f"constraints.{metric}: {str(low)!r} and {str(high)!r} contradict each other")


def _resolved(source: str, folder: Path) -> str:
    """A path or pattern seen from the campaign's folder or from here; a bare word is a built-in name."""
    if not source or _is_name(source):
        return source
    found = _found(source, folder) or _found(source, Path.cwd())
    return str(found) if found else source


def _found(source: str, folder: Path) -> Path | None:
    """What `source` means in `folder`, if there is such a file or folder; its last part may be a pattern."""
    try:
        path = folder / Path(source).expanduser()
        return path.resolve() if path.exists() or any(path.parent.glob(path.name)) else None
    except (OSError, RuntimeError, ValueError):  # no such user, a name that is too long, an impossible pattern
        return None


def _is_name(source: str) -> bool:
    return source.replace("-", "_").isidentifier()


def _check_registered(campaign: Campaign) -> None:
    from evaluators.augment import AUGMENTATIONS
    from evaluators.data import DATASETS
    from nas.fidelity import RULES
    from nas.samplers import SAMPLERS
    from search_spaces.vit import SPACES
    from search_spaces.zoo import ZOO

    _check_name("space.name", "space", campaign.space.name, SPACES)
    _check_name("sampler.name", "sampler", campaign.sampler.name, SAMPLERS)
    _check_name("fidelity.name", "rule", campaign.fidelity.name, RULES)
    if campaign.sampler.scores:
        from nas.network_scores import check_scores

        check_scores(campaign.sampler.scores)
    for name in campaign.references:
        _check_name("references", "network", name, ZOO)
    for name in campaign.training.augment:
        _check_name("training.augment", "name", name, AUGMENTATIONS)
    check_files(campaign.sources, campaign.metrics)
    source = campaign.data.source
    if _is_name(source) and source not in DATASETS:
        hint = f"; for a folder here write ./{source}" if Path(source).exists() else ""
        raise UserError(f"{unknown('data set', source, DATASETS, 'data.source')}{hint}")
    if not _is_name(source) and not _found(source, Path.cwd()):
        raise UserError(f"data.source: nothing at {source!r}, neither beside the campaign file nor in {Path.cwd()}")


def _check_name(key: str, what: str, name: str, registry: Iterable[str]) -> None:
    if name not in list(registry):
        raise unknown(what, name, registry, key)
