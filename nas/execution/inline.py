"""One job after another in this process: for debugging, for tests, and for exact repeats."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from nas.campaign import Campaign
from nas.execution.base import EXECUTORS, JobSource, deliver
from nas.worker import Worker

T = TypeVar("T")


@EXECUTORS.register("inline")
class InlineExecutor:
    """Serial and deterministic; a debugger can step into a trial."""

    about: ClassVar[str] = "one trial after another in this process"

    def __init__(
        self, campaign: Campaign, folder: Path, make_worker: Callable[[Campaign, Path], Worker] = Worker
    ) -> None:
        self.campaign, self.folder, self.make_worker = campaign, folder, make_worker

    def __enter__(self) -> Self:
        self.worker = self.make_worker(self.campaign, self.folder)
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def run(self, source: JobSource) -> None:
        while (job := source.next_job()) is not None:
            for step in self.worker.steps(job):
                if deliver(source, job, step):
                    break

    def call(self, function: Callable[..., T], *args: Any) -> T:
        return function(*args)
