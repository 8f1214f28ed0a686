"""The conditions of a measurement, part of its number: devices, threads and runtimes rank networks differently."""

import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nas.errors import UserError, unknown

if TYPE_CHECKING:
    import torch

KINDS = ("cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16")
RUNTIMES = ("eager", "compile", "onnxruntime")
_WORDS = {"kind": "kind of device", "in_chans": "channels", "image_size": "image", "dtype": "number format"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """device: the model's name. image_size: (height, width). versions: of the libraries that do the work."""

    device: str
    kind: str
    threads: int
    batch: int
    in_chans: int
    image_size: tuple[int, int]
    dtype: str
    runtime: str
    versions: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        for name, choices in (("kind", KINDS), ("dtype", DTYPES), ("runtime", RUNTIMES)):
            if getattr(self, name) not in choices:
                raise unknown(_WORDS.get(name, name), getattr(self, name), choices, "conditions")
        sizes = (("threads", self.threads), ("batch", self.batch), ("in_chans", self.in_chans))
        for name, value in (*sizes, ("image_size", min(self.image_size))):
            if value < 1:
                raise UserError(f"conditions: {name}: {value} is too small; give a number of at least 1")

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"image_size": list(self.image_size), "versions": dict(self.versions)}

    @classmethod
    def from_json(cls, data: Any, where: str = "conditions") -> Self:
        """Read strictly; raises UserError naming the key. where: what the error begins with, such as a file."""
        names = [f.name for f in fields(cls)]
        if not isinstance(data, dict):
            raise UserError(f"{where}: expected a mapping, found {data!r}")
        for key in data.keys() - set(names):
            raise unknown("key", key, names, where)
        found = {}
        for name in names:
            if name not in data:
                raise UserError(f"{where}: {name} is missing")
            found[name] = _READ[name](data[name], f"{where}: {name}")
        try:
            return cls(**found)
        except UserError as error:
            raise UserError(f"{where}: {str(error).removeprefix('conditions: ')}") from None


def conditions_here(
    device: str = "cpu",
    *,
    image_size: int | tuple[int, int],
    in_chans: int = 3,
    batch: int = 1,
    threads: int = 1,
    dtype: str = "float32",
    runtime: str = "eager",
) -> Conditions:
    """The conditions of a measurement made on this machine now. device: "cpu", "cuda" or "cuda:N"."""
    kind = device.partition(":")[0]
    return Conditions(
        device=device_name(device), kind=kind, threads=threads, batch=batch, in_chans=in_chans,
        image_size=(image_size, image_size) if isinstance(image_size, int) else image_size,
        dtype=dtype, runtime=runtime, versions=tuple(_versions(kind, runtime)),
    )  # fmt: skip


def differences(asked: Conditions, found: Conditions) -> list[str]:
    """What is not as asked, one phrase for each: "threads: asked for 4, found 1"."""
    phrases = []
    for f in fields(Conditions):
        wanted, got = getattr(asked, f.name), getattr(found, f.name)
        if f.name != "versions" and wanted != got:
            phrases.append(f"{_WORDS.get(f.name, f.name)}: asked for {_word(wanted)}, found {_word(got)}")
    wanted, got = dict(asked.versions), dict(found.versions)
    for name in sorted(wanted.keys() | got.keys()):
        if wanted.get(name) != got.get(name):
            phrases.append(f"version of {name}: asked for {wanted.get(name, 'none')}, found {got.get(name, 'none')}")
    return phrases


def device_name(device: "torch.device | str") -> str:
    """What a measurement depends on, in words: the model of the processor or of the GPU."""
    if str(device).startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return _cpu_name()


@lru_cache(maxsize=1)
def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _versions(kind: str, runtime: str) -> Iterator[tuple[str, str]]:
    yield "torch", _version("torch")
    if runtime == "onnxruntime":
        yield "onnxruntime", _version("onnxruntime")
    if kind == "cuda":
        import torch

        yield "cuda", str(torch.version.cuda)
    if runtime == "compile":
        yield "python", f"{sys.version_info.major}.{sys.version_info.minor}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _word(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: expected a word, found {value!r}")
    return value


def _count(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{where}: expected a whole number, found {value!r}")
    return value


def _sides(value: Any, where: str) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise UserError(f"{where}: expected [height, width], found {value!r}")
    return _count(value[0], where), _count(value[1], where)


def _mapping(value: Any, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a mapping from library to version, found {value!r}")
    return tuple((name, _text(text, f"{where}.{name}")) for name, text in value.items())


_READ: dict[str, Any] = {
    "device": _text, "kind": _text, "dtype": _text, "runtime": _text, "threads": _count, "batch": _count,
    "in_chans": _count, "image_size": _sides, "versions": _mapping,
}  # fmt: skip
