"""Datasets that a campaign can name instead of a path: functions that open one, with a docstring of one line."""

from collections.abc import Callable

from evaluators.data.source import Source
from nas.registry import Registry

DATASETS: Registry[Callable[[], Source]] = Registry("dataset")
