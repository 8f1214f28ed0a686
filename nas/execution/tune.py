"""Ray Tune: many trials at once on this machine or a cluster, actors reused, fractions of a GPU.

Tune decides where and when; what is tried and what is kept stays with the loop. Its search algorithm interface is
the seam: `suggest` pulls a job, results and completions push what the worker found.
"""

import json
import logging
import math
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from nas.campaign import Campaign
from nas.errors import UserError
from nas.execution.base import EXECUTORS, JobSource
from nas.history import outcome_from_json
from nas.trial import Job, Outcome, Point
from nas.worker import Measured, Step, Worker

T = TypeVar("T")
SCRATCH = ".tune"  # in the run folder while a search runs: Tune insists on a state of its own, which nobody reads
CONNECT_SECONDS = 5.0
REPORT_SECONDS = 1.0  # how long a trial goes on before it reports; bounds the traffic of many short epochs

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the journal is the record
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C belongs to the loop
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1")
os.environ.setdefault("TUNE_RESULT_BUFFER_LENGTH", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402


@EXECUTORS.register("ray")
class TuneExecutor:
    """Ray Tune with reused actors; `execution.address` joins a cluster started with `ray start`."""

    about: ClassVar[str] = "Ray Tune: parallel trials, clusters, fractions of a GPU"

    def __init__(
        self, campaign: Campaign, folder: Path, make_worker: Callable[[Campaign, Path], Worker] = Worker
    ) -> None:
        self.campaign, self.folder, self.make_worker = campaign, folder.resolve(), make_worker

    def __enter__(self) -> Self:
        settings = self.campaign.execution
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "ignore_reinit_error": True}
        if settings.address is None:
            options |= {
                "num_cpus": cores(settings.workers, settings.cpus),
                "include_dashboard": False,
                "object_store_memory": 256 * 1024**2,
            }
        else:
            check_answers(settings.address)
        try:
            ray.init(address=settings.address or "local", **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = settings.address or "this machine"
            raise UserError(f"execution.address: cannot start or join Ray at {where}: {error}") from error
        return self

    def __exit__(self, *exc: object) -> None:
        ray.shutdown()

    def run(self, source: JobSource) -> None:
        settings, feed = self.campaign.execution, _Feed(source)
        trainable = tune.with_resources(
            tune.with_parameters(
                EvaluationTrial,
                campaign=self.campaign.model_dump(mode="json"),
                folder=str(self.folder),
                make_worker=self.make_worker,
            ),
            {"cpu": settings.cpus, "gpu": settings.gpus},
        )
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=feed, num_samples=-1, max_concurrent_trials=settings.workers, reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=str(self.folder / SCRATCH), verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )  # fmt: skip
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        try:
            tuner.fit()
        finally:
            shutil.rmtree(self.folder / SCRATCH, ignore_errors=True)
            feed.raise_held()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        settings = self.campaign.execution
        remote = ray.remote(num_cpus=settings.cpus, num_gpus=settings.gpus, max_retries=0)(function)
        return ray.get(remote.remote(*args))


def check_answers(address: str) -> None:
    """Raise UserError at once where nobody listens; Ray itself tries for minutes. Only `host:port` can be asked."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError):
        raise UserError(
            f"execution.address: nothing answers at {address}; start Ray there with `ray start --head`, or leave the "
            "address out to use this machine"
        ) from None


def cores(workers: int, cpus: float) -> int:
    """What a Ray of our own offers: enough for all workers, or a trial that needs a fraction more waits for ever."""
    return math.ceil(workers * max(1.0, cpus))


class _Feed(Searcher):
    """The loop behind Tune's search algorithm interface. An error of the loop is held until Tune has ended."""

    def __init__(self, source: JobSource) -> None:
        super().__init__(metric="done_steps", mode="max")
        self.source = source
        self.jobs: dict[str, Job] = {}
        self.error: BaseException | None = None

    def suggest(self, trial_id: str) -> Any:
        if self.error is not None:
            return Searcher.FINISHED
        job = self._guard(self.source.next_job)
        if job is None:
            return None if self.error is None and self.source.waiting() else Searcher.FINISHED
        self.jobs[trial_id] = job
        return {"job": json.dumps(asdict(job))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        job = self.jobs.get(trial_id)
        if job is not None:
            self._guard(lambda: self._take(trial_id, job, result.get("steps", ())))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result and not error:
            self.on_trial_result(trial_id, result)
        job = self.jobs.pop(trial_id, None)
        if job is not None:
            lost = Outcome(state="failed", error="its worker process died (killed, or out of memory)")
            self._guard(lambda: self.source.finished(job, lost))

    def _take(self, trial_id: str, job: Job, steps: list[tuple[str, Any]]) -> None:
        points = [Point(**data) for kind, data in steps if kind == "point"]
        for kind, data in steps:
            if kind == "measured":
                self.source.measured(job, Measured(**data))
        if points:
            self.source.progressed(job, points)
        for kind, data in steps:
            if kind == "outcome":
                del self.jobs[trial_id]
                self.source.finished(job, outcome_from_json(data))

    def _guard(self, action: Callable[[], T]) -> T | None:
        try:
            return action()
        except BaseException as error:
            self.error = self.error or error
            return None

    def raise_held(self) -> None:
        if self.error is not None:
            raise self.error

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps a pickle of its search algorithm; ours is only a seam, so there is nothing in it."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the truth."""


class EvaluationTrial(tune.Trainable):
    """A reused actor: holds one Worker and goes through its steps, a second's worth at a time."""

    _worker: Worker | None = None

    def setup(  # type: ignore[override]  # Tune passes with_parameters by name
        self,
        config: dict[str, Any],
        campaign: dict[str, Any],
        folder: str,
        make_worker: Callable[[Campaign, Path], Worker],
    ) -> None:
        self._broken: list[Step] = []
        try:
            if EvaluationTrial._worker is None:
                EvaluationTrial._worker = make_worker(Campaign.model_validate(campaign), Path(folder))
        except Exception as error:
            self._broken = [Outcome(state="failed", error=f"the worker cannot start: {type(error).__name__}: {error}")]
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        job, worker = Job(**json.loads(config["job"])), EvaluationTrial._worker
        self._steps: Iterator[Step] = iter(self._broken) if worker is None else worker.steps(job)
        self._count = 0

    def step(self) -> dict[str, Any]:
        until, steps = time.monotonic() + REPORT_SECONDS, []
        while time.monotonic() < until:
            step = next(self._steps)
            steps.append((_KIND[type(step)], asdict(step)))
            if isinstance(step, Outcome):
                break
        self._count += len(steps)
        return {"steps": steps, "done_steps": self._count, "done": bool(steps) and steps[-1][0] == "outcome"}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the worker writes weights into the run folder."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: a trial that was running is queued again by the loop."""


_KIND = {Measured: "measured", Point: "point", Outcome: "outcome"}
