"""How trials get run. An executor pulls jobs from the loop and hands back what it finds; it keeps no record itself."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self, TypeVar

from nas.registry import Registry
from nas.trial import Job, Outcome, Point
from nas.worker import Measured

T = TypeVar("T")


class JobSource(Protocol):
    """The loop, as an executor sees it. All calls come from one thread."""

    def next_job(self) -> Job | None:
        """The next job, or None when nothing more is to be started."""

    def waiting(self) -> bool:
        """After a None: whether a running trial may yet bring another job."""

    def measured(self, job: Job, latency: Measured) -> None: ...

    def progressed(self, job: Job, points: list[Point]) -> None: ...

    def finished(self, job: Job, outcome: Outcome) -> None: ...


class Executor(Protocol):
    """Runs jobs until the source has none left and all have ended. Use as a context manager."""

    about: ClassVar[str]

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def run(self, source: JobSource) -> None: ...

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function where the device is, while no job runs."""


EXECUTORS: Registry[Any] = Registry("executor")


def deliver(source: JobSource, job: Job, step: Measured | Point | Outcome) -> bool:
    """Hand one step to the source; True when it was the last."""
    if isinstance(step, Outcome):
        source.finished(job, step)
        return True
    if isinstance(step, Measured):
        source.measured(job, step)
    else:
        source.progressed(job, [step])
    return False
