"""Measurements in a fresh process: nothing that ran before touches them, and a crash there costs this one nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from evaluators.latency.conditions import Conditions
from evaluators.latency.process import events_of_child
from evaluators.latency.rounds import LatencySettings
from evaluators.latency.runtimes import check_runnable
from evaluators.latency.session import MeasureJob as MeasureJob
from evaluators.latency.session import Measurement as Measurement
from evaluators.latency.session import Progress as Progress
from evaluators.latency.session import Session


def measure_isolated(
    jobs: Sequence[MeasureJob],
    conditions: Conditions,
    settings: LatencySettings,
    *,
    device: str | None = None,
    seed: int = 0,
    memory: Sequence[str] = ("inference", "training"),
    watts: float | None = None,
    reference_ms: float | None = None,
    pin: bool = True,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[Measurement]:
    """Measure networks side by side in one fresh process; one Measurement for each job, in their order.

    memory: which phases of evaluators.memory, in order; what needs most comes last.
    device: "cuda:1" where there are several. watts: its power, for an estimate of energy where nothing counts it.
    reference_ms: of an earlier session on this device, to put this one on its scale. Threads and batch are those of
    `conditions`. When the process dies or is interrupted, what it had measured is still given. Raises UserError at once
    when this machine cannot measure under these conditions.
    """
    device = device or conditions.kind
    settings = replace(settings, threads=conditions.threads, batch=conditions.batch)
    check_runnable(conditions, device)
    if len({job.name for job in jobs}) < len(jobs):
        raise ValueError("networks that are measured together need different names")
    request = {
        "jobs": [job.request(conditions) for job in jobs], "conditions": conditions.to_json(), "device": device,
        "settings": asdict(settings), "seed": seed, "memory": list(memory), "pin": pin,
    }  # fmt: skip
    session = Session(jobs, conditions, settings, seed=seed, watts=watts, reference_ms=reference_ms)
    return _measure(session, request, report)


def _measure(session: Session, request: dict[str, Any], report: Callable[[Progress], None]) -> Iterator[Measurement]:
    interrupted = False
    try:
        for event in events_of_child(request, session.settings.threads):
            session.take(event)
            report(session.progress())
    except KeyboardInterrupt:
        session.end("stopped before the end")
        interrupted = True
    yield from session.measurements()
    if interrupted:
        raise KeyboardInterrupt
