"""Scores of many genotypes: one after another in this process, or shared out as plain Ray tasks."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from evaluators.zero_cost.base import SCORES, Batch, subject_of
from evaluators.zero_cost.compute import ScoreResult, compute_scores, reason_of
from nas.genotype import Genotype

PER_TASK = 8  # genotypes; a task costs milliseconds, a network from a tenth of a second on


def score_genotypes(
    genotypes: Sequence[Genotype],
    batches: Sequence[Batch],
    names: Sequence[str] | None = None,
    *,
    classes: int,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 0,
) -> Iterator[ScoreResult]:
    """One result per genotype, in their order and as they come. workers: Ray tasks at a time, each on one thread; 0
    is in this process. A running Ray is used, otherwise one is started on this machine and stopped in the end.

    Raises UserError for an unknown score; whatever else goes wrong is in the results.
    """
    options: dict[str, Any] = {"names": names, "classes": classes, "seed": seed, "device": device}
    if workers < 1:
        for genotype in genotypes:
            yield _score(genotype, batches, **options)
        return
    with _ray(workers) as ray:
        pictures = ray.put(list(batches))
        task = ray.remote(num_cpus=1)(_score_some)
        parts = [genotypes[i : i + PER_TASK] for i in range(0, len(genotypes), PER_TASK)]
        for found in [task.remote(list(part), pictures, options) for part in parts]:
            yield from ray.get(found)


def _score_some(genotypes: list[Genotype], batches: list[Batch], options: dict[str, Any]) -> list[ScoreResult]:
    torch.set_num_threads(1)
    return [_score(genotype, batches, **options) for genotype in genotypes]


def _score(
    genotype: Genotype, batches: Sequence[Batch], names: Sequence[str] | None, classes: int, **options: Any
) -> ScoreResult:
    _, channels, size, _ = batches[0][0].shape
    try:
        subject = subject_of(genotype, image_size=size, in_chans=channels, classes=classes)
    except Exception as error:  # such as no token left at this image size
        return ScoreResult(values={}, errors=dict.fromkeys(names or SCORES, reason_of(error)), seconds={})
    return compute_scores(subject, batches, names, **options)


@contextmanager
def _ray(workers: int) -> Iterator[Any]:
    """Ray as a campaign starts it: silent, without a dashboard."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield ray
        return
    ray.init(
        address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
        object_store_memory=256 * 1024**2,
    )  # fmt: skip
    try:
        yield ray
    finally:
        ray.shutdown()
