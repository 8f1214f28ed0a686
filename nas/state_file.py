"""The state of a training on disk: tensors and JSON in one safetensors file, whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from nas.errors import UserError


def write_state(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    write_tensors(path, tensors, metadata={"facts": json.dumps(facts)})


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of write_state. Raises UserError for a file that is damaged or not there."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["facts"])  # noqa: SIM118
    except Exception as error:
        raise UserError(f"{path}: damaged ({error}); remove it to train from the start") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata=metadata))
    partial.replace(path)
