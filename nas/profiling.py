"""nas profile and nas predict: costs of a device, learnt once, for every architecture of the space."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluators.device_profile.profile import DeviceProfile, Estimate, subjects_of
from evaluators.device_profile.profile_file import read_content, read_profile
from evaluators.device_profile.profiling import Order, make_profile
from evaluators.device_profile.region import Area, Region
from evaluators.latency.conditions import DTYPES, RUNTIMES, Conditions, conditions_here
from evaluators.latency.lease import DeviceLease
from evaluators.latency.runtimes import check_cuda, check_runnable
from nas.campaign import check_names, load_campaign
from nas.description import load_architecture
from nas.errors import UserError
from nas.listing import print_rows
from nas.measuring import check_choices
from nas.profiles import region_of
from nas.progress import duration
from nas.status_line import StatusLine
from nas.worker import dataset_of, lease_path, resolve_device
from search_spaces.vit import SPACES

LEAST_MINUTES = 1.0
STARTING_PRICE = "an ONNX or compiled network takes seconds to make ready; --from an eager profile needs far fewer"


def profile_device(
    output: Path,
    *,
    device: str = "auto",
    runtime: str = "eager",
    dtype: str = "float32",
    batch: int = 1,
    threads: int = 1,
    minutes: float = 10.0,
    spaces: Sequence[str] = (),
    image_sizes: Sequence[int] = (),
    campaign: Path | None = None,
    origin: Path | None = None,
    samples: int = 10,
    watts: float | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure this machine into `output`; plain data about how good the profile is. Goes on with a file that exists.

    Raises UserError for what the user can mend. Waits until no campaign uses the device.
    """
    if not LEAST_MINUTES <= minutes < float("inf"):
        raise UserError(f"--minutes: {minutes:g} is out of range; give at least {LEAST_MINUTES:g}, to learn something")
    check_choices(device, runtime, dtype, 60 * minutes, watts)
    _check_output(output)
    device, region = resolve_device(device), _region(spaces, image_sizes, campaign)
    if device.startswith("cuda"):
        check_cuda(device)
    conditions = conditions_here(
        device, image_size=region.areas[0].image_sizes[0], in_chans=region.in_chans[0], batch=batch, threads=threads,
        dtype=dtype, runtime=runtime,
    )  # fmt: skip
    check_runnable(conditions, device)
    order = Order(
        region=region, conditions=conditions, device=device, seconds=60 * minutes, seed=seed, watts=watts,
        origin=read_profile(origin) if origin else None, samples=_samples(samples),
    )  # fmt: skip
    line = StatusLine(quiet)
    if runtime != "eager" and origin is None:
        line.show(f"note: {STARTING_PRICE}")
    line.show("waiting for the device")
    try:
        with DeviceLease(lease_path(device)).exclusive():
            make_profile(order, output, line.progress)
    except KeyboardInterrupt:
        line.end()
        if output.exists():
            print(f"stopped; {output} holds what was measured, and the same command goes on with it", file=sys.stderr)
        raise
    line.end()
    return profile_data(output)


def profile_data(path: Path) -> dict[str, Any]:
    """How good a profile is, from its file."""
    content = read_content(path)
    accuracy = content["accuracy"] or {"networks": 0, "scores": None, "ceiling": None, "half": None}
    return {
        "profile": str(path), "conditions": content["conditions"], "sessions": len(content["sessions"]),
        "seconds": sum(s["seconds"] for s in content["sessions"]), "units": len(content["units"]),
        "networks": sum(n["role"] == "learn" for n in content["networks"]), "accuracy": accuracy,
        "failed": content["failed"], "notes": list(dict.fromkeys(n for s in content["sessions"] for n in s["notes"])),
    }  # fmt: skip


def print_profile(found: dict[str, Any]) -> None:
    """What was measured, how good it is on networks never seen, and what more time would give."""
    c, accuracy = found["conditions"], found["accuracy"]
    print(f"{c['device']}, {c['runtime']}, {c['dtype']}, batch {c['batch']}, threads {c['threads']}")
    print(f"{found['units']:,} units and {found['networks']} networks measured in {duration(found['seconds'])}")
    rows = [_score_row(f"predicted, {accuracy['networks']} networks never seen", accuracy["scores"])]
    rows += [_score_row("measured again (the noise ceiling)", (accuracy["ceiling"] or {}).get("scores"))]
    print_rows([row for row in rows if row is not None] or [{"accuracy": "too few networks to test on"}])
    if accuracy.get("covered") is not None:
        print(f"{accuracy['covered']:.0%} of them inside their 90 % interval")
    if accuracy.get("twice_rmspe") is not None:
        print(f"twice the time: an RMSPE of about {accuracy['twice_rmspe']:.1f} %")
    for name, error in found["failed"].items():
        print(f"note: {name} could not be measured: {error}", file=sys.stderr)
    print(f"profile  {found['profile']}")


def predict_configs(
    configs: Sequence[str],
    profile: Path,
    *,
    device: str | None = None,
    runtime: str | None = None,
    dtype: str | None = None,
    batch: int | None = None,
    threads: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Costs of config files and zoo networks from a profile; plain data. Options say what the profile must be for.

    Raises UserError when it is for something else, or an image lies outside its region, unless `force` is given.
    """
    check_choices(device or "auto", runtime or RUNTIMES[0], dtype or DTYPES[0], LEAST_MINUTES, None)
    wanted = {"runtime": runtime, "dtype": dtype, "batch": batch, "threads": threads}
    found = _profile_for(profile, device, {k: v for k, v in wanted.items() if v is not None}, force)
    rows = [_prediction(found, config, profile, force) for config in configs]
    label, method = found.energy
    return {
        "profile": str(profile), "conditions": found.conditions.to_json(), "energy": {"label": label, "method": method},
        "predictions": rows,
    }  # fmt: skip


def print_predictions(found: dict[str, Any]) -> None:
    """A table on stdout; what lies outside the profile on stderr."""
    c = found["conditions"]
    print(f"{c['device']}, {c['runtime']}, {c['dtype']}, batch {c['batch']}, threads {c['threads']}: predicted")
    print_rows([_cells(row) for row in found["predictions"]])
    print(f"energy: {found['energy']['label']}, {found['energy']['method']}")
    for row in found["predictions"]:
        if row["outside"]:
            print(f"note: {row['name']} lies outside the profiled region; its interval is widened", file=sys.stderr)


def _region(spaces: Sequence[str], image_sizes: Sequence[int], campaign: Path | None) -> Region:
    """Of a campaign, of named spaces, or of all there is."""
    if campaign is not None:
        if spaces or image_sizes:
            raise UserError("--campaign says which space and image size; leave out --space and --image-size")
        return campaign_region(campaign)
    if not spaces and not image_sizes:
        return Region.everything()
    names = spaces or [name for name, _ in SPACES.items()]
    areas = [area for name in names for area in _areas(name, image_sizes, strict=bool(spaces))]
    if not areas:
        raise UserError(f"--image-size: no space takes {', '.join(map(str, image_sizes))} px; choices: 8 and more")
    return Region(areas=tuple(areas), in_chans=(1, 3), classes=(10, 100, 1000))


def _areas(name: str, image_sizes: Sequence[int], strict: bool) -> list[Area]:
    """The sizes that a space takes. strict: one that it does not take is an error."""
    default = next((a.image_sizes for a in Region.everything().areas if a.space == name), (224,))
    taken = []
    for size in image_sizes or default:
        try:
            SPACES[name](image_size=size, in_chans=3, classes=10)
            taken.append(size)
        except UserError:
            if strict:
                raise
    return [Area(space=name, image_sizes=tuple(taken))] if taken else []


def campaign_region(path: Path) -> Region:
    """The space of a campaign file, with its restrictions and its pictures' size, channels and classes."""
    campaign = load_campaign(path)
    check_names(campaign, path)
    return region_of(campaign, dataset_of(campaign))


def _check_output(path: Path) -> None:
    if path.suffix != ".json":
        raise UserError(f"--output: {path} does not end in .json; a profile is a JSON file such as cpu.json")
    if not path.parent.is_dir():
        raise UserError(f"--output: there is no folder {path.parent}")


def _samples(count: int) -> int:
    if count < 3:
        raise UserError(f"--samples: {count} is too few to adapt a profile; give at least 3")
    return count


def _score_row(what: str, scores: dict[str, float] | None) -> dict[str, str] | None:
    if scores is None:
        return None
    return {
        "": what, "within 5 %": f"{scores['within_5']:.0%}", "within 10 %": f"{scores['within_10']:.0%}",
        "RMSPE": f"{scores['rmspe']:.1f} %", "Spearman": f"{scores['spearman']:.3f}",
        "Kendall": f"{scores['kendall']:.3f}",
    }  # fmt: skip


def _profile_for(path: Path, device: str | None, wanted: dict[str, Any], force: bool) -> DeviceProfile:
    """Compared with what was asked for; and with this machine's libraries where the profile is of this machine."""
    own = Conditions.from_json(read_content(path)["conditions"], f"{path}: conditions")
    asked = replace(own, **wanted)
    here = _here(asked, device)
    if here is not None and (device is not None or here.device == own.device):
        asked = replace(asked, device=here.device, kind=here.kind, versions=here.versions)
    return read_profile(path, asked=asked, force=force)


def _here(asked: Conditions, device: str | None) -> Conditions | None:
    """This machine under the conditions asked for; None where it has no such device."""
    name = resolve_device(device) if device else asked.kind
    try:
        return conditions_here(
            name, image_size=asked.image_size, in_chans=asked.in_chans, batch=asked.batch, threads=asked.threads,
            dtype=asked.dtype, runtime=asked.runtime,
        )  # fmt: skip
    except (RuntimeError, AssertionError):  # what PyTorch raises without a GPU
        if device:
            raise UserError(f"--device: there is no {device} here") from None
        return None


def _prediction(profile: DeviceProfile, config: str, path: Path, force: bool) -> dict[str, Any]:
    genotype, inputs, name = load_architecture(config)
    subject = subjects_of([genotype], **inputs)[0]
    beyond = profile.region.outside(subject.image_size, subject.in_chans, subject.classes)
    if beyond and not force:
        raise UserError(
            f"{path}: {name} is not what it was made for; {'; '.join(beyond)}; --force predicts all the same"
        )
    latency, energy = profile.latency([genotype], **inputs), profile.energy_mj([genotype], **inputs)
    memory = profile.memory_mb([genotype], **inputs) if profile.predicts_memory else None
    return {
        "name": name, "image_size": list(subject.image_size), "latency_ms": float(latency.mean[0]),
        "interval": _interval(latency), "energy_mj": float(energy.mean[0]), "energy_interval": _interval(energy),
        "memory_mb": None if memory is None else float(memory.mean[0]), "outside": bool(latency.outside[0]),
        "stages": {str(stage): ms for stage, ms in profile.stages(subject).items()},
    }  # fmt: skip


def _interval(found: Estimate) -> list[float]:
    return [float(found.low[0]), float(found.high[0])]


def _cells(row: dict[str, Any]) -> dict[str, str]:
    low, high = row["interval"]
    return {
        "network": row["name"], "image": "x".join(map(str, row["image_size"])), "ms": f"{row['latency_ms']:.4g}",
        "90 % interval": f"{low:.4g}-{high:.4g}", "mJ": f"{row['energy_mj']:.4g}",
        "memory MB": "" if row["memory_mb"] is None else f"{row['memory_mb']:.4g}",
        "ms by stage (0: stem)": ", ".join(f"{stage}: {ms:.3g}" for stage, ms in row["stages"].items()),
    }  # fmt: skip
