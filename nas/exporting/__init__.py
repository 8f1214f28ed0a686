"""Architectures as files: a config, one plain PyTorch file, ONNX."""

from nas.exporting.config import trial_config, write_config
from nas.exporting.folder import export_run, export_trials
from nas.exporting.select import select

__all__ = ["export_run", "export_trials", "select", "trial_config", "write_config"]
