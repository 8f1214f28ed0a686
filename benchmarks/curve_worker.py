"""A worker whose trials cost nothing and have learning curves: their end follows from the genotype by a formula."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from free_worker import formula

from nas.campaign import Campaign
from nas.genotype import Genotype
from nas.trial import Job, Outcome, Point
from nas.worker import Step

NOISE = 0.3  # deviation of the log-odds at the beginning; none at the end


class CurveWorker:
    """Goes along the curve to the next rung. What it keeps there is a file that holds the epoch.

    trained.txt in the run folder has a line for every epoch of every trial that it was asked for.
    """

    def __init__(self, campaign: Campaign, folder: Path) -> None:
        self.epochs, self.folder = campaign.training.epochs, folder

    def steps(self, job: Job) -> Iterator[Step]:
        final = min(0.98, 0.5 + 0.5 * formula(Genotype.from_json(job.genotype)))
        points = curve(final, self.epochs, rng=np.random.default_rng(job.seed))
        begun = 0 if job.training_state is None else int((self.folder / job.training_state).read_text())
        trained = points[begun : job.until or self.epochs]
        for point in trained:
            self._count(job, point)
            yield point
        if job.until is None:
            yield Outcome(state="complete", values={"accuracy": trained[-1].accuracy}, curve=trained)
            return
        yield Outcome(state="paused", curve=trained, checkpoint=self._keep(job, job.until))

    def _keep(self, job: Job, epoch: int) -> str:
        relative = f"checkpoints/trial-{job.trial:04d}.epoch-{epoch:04d}.state.safetensors"
        (self.folder / relative).parent.mkdir(exist_ok=True)
        (self.folder / relative).write_text(str(epoch))
        return relative

    def _count(self, job: Job, point: Point) -> None:
        with (self.folder / "trained.txt").open("a") as file:
            file.write(f"{job.trial} {point.epoch}\n")


def curve(final: float, epochs: int, *, rng: np.random.Generator | None = None) -> tuple[Point, ...]:
    """Log-odds that rise to those of `final` as the root of the epoch, with noise that falls to none."""
    share = np.arange(1, epochs + 1) / epochs
    noise = NOISE * (1 - share) * rng.standard_normal(epochs) if rng else 0.0
    accuracy = 1 / (1 + np.exp(-np.log(final / (1 - final)) * np.sqrt(share) - noise))
    return tuple(Point(epoch=e, loss=1.0, accuracy=float(a), seconds=float(e)) for e, a in enumerate(accuracy, start=1))
