"""Architectures as files: a config, one plain PyTorch file, ONNX."""

from nas.export.config import ArchitectureConfig, build_config, make_config, read_config, save_config, write_config
from nas.export.folder import export_run, export_trials
from nas.export.select import select

__all__ = [
    "ArchitectureConfig",
    "build_config",
    "export_run",
    "export_trials",
    "make_config",
    "read_config",
    "save_config",
    "select",
    "write_config",
]
