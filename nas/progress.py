"""What a search shows while it runs, on stderr: a bar on a terminal, one line per finished trial in a plain log."""

import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from nas.loop import Loop
from nas.objective import losses, metric_of
from nas.pareto import hypervolume, reference_point
from nas.trial import Trial


class SearchProgress:
    """A listener of the loop. Use as a context manager around the run."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.live = self.console.is_terminal and not quiet
        self.loop: Loop | None = None
        self._session_start = time.monotonic()
        self._spent_before = 0.0

    def attach(self, loop: Loop) -> None:
        self.loop = loop
        self._session_start, self._spent_before = time.monotonic(), self._done()
        if self.live:
            self._task = self._bar.add_task("searching", total=loop.campaign.budget.trials, status="starting")
            self._refresh()

    def __enter__(self) -> Self:
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            console=self.console,
            transient=True,
            disable=not self.live,
        )
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def __call__(self, what: str, trial: Trial) -> None:
        if what in ("finished", "paused"):
            self.say(self._line(trial))
        if self.live and self.loop is not None:
            self._refresh()

    def _line(self, trial: Trial) -> str:
        assert self.loop is not None
        numbers = "  ".join(f"{n}={trial.values[n]:.4g}" for n in self.loop.campaign.metrics if n in trial.values)
        seconds = sum(trial.seconds.values())  # of its worker: a trial may wait at a rung, or between two sessions
        where = f"[{self._done():g}/{self.loop.campaign.budget.trials}, {self._left()} left]"
        reason = f"  {trial.error}" if trial.error else self._rung_words(trial)
        return f"{where} {trial.name}: {trial.state}  {numbers}  {seconds:.1f} s  {trial.genotype}{reason}".replace(
            "[", r"\[", 1
        )

    def _rung_words(self, trial: Trial) -> str:
        """Where a trial was cut short, and what was expected of it."""
        assert self.loop is not None
        if trial.state not in ("paused", "stopped"):
            return ""
        point, chance = trial.curve[-1], self.loop.history.chances.get(trial.number)
        front = "" if chance is None else f", {100 * chance:.0f} % chance of the front"
        return f"  after {point.epoch} of {self.loop.rule.epochs} epochs at accuracy {point.accuracy:.4g}{front}"

    def _refresh(self) -> None:
        self._bar.update(self._task, completed=self._done(), status=self._status())

    def _status(self) -> str:
        assert self.loop is not None
        run = self.loop.run()
        running = sum(t.state == "running" for t in run.trials)
        failed = sum(t.state == "failed" for t in run.trials)
        cut = sum(t.state in ("paused", "stopped") for t in run.trials)
        done = [t.values for t in run.complete()]
        if not done:
            return f"{self._left()} left, {running} running, {failed} failed"
        points = losses(done, self.loop.campaign.objective_list)
        volume = hypervolume(points, reference_point(points))
        best = max(v["accuracy"] for v in done)
        front = len(run.front())
        found = f"best {best:.3f}, front {front}, {running} running"
        found += (f", {cut} cut short" if cut else "") + f", {failed} failed, volume {volume:.3g}"
        return f"{self._left()} left, {found}"  # what matters most first: a narrow terminal cuts the end

    def _done(self) -> float:
        assert self.loop is not None
        return round(self.loop.ended_trials(), 2)

    def _left(self) -> str:
        """By the pace of this session and by the budget, whichever ends first."""
        assert self.loop is not None
        budget = self.loop.campaign.budget
        by_time = 60 * budget.minutes - self.loop.elapsed()
        done = self._done() - self._spent_before
        if done > 0:
            pace = (time.monotonic() - self._session_start) / done
            by_time = min(by_time, pace * (budget.trials - self._done()))
        return duration(max(0.0, by_time))


def duration(seconds: float) -> str:
    """In the two units that matter: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"


def front_lines(trials: list[Trial], metrics: tuple[str, ...]) -> list[list[str]]:
    """The front as rows of words: name, metrics with units, architecture."""
    rows = []
    for trial in trials:
        cells = [
            f"{trial.values[m]:.4f}" if m == "accuracy" else f"{trial.values[m]:.4g}"
            for m in metrics
            if m in trial.values
        ]
        rows.append([trial.name, *cells, str(trial.genotype)])
    return rows


def print_front(trials: list[Trial], metrics: tuple[str, ...]) -> None:
    """The front as a table on stdout."""
    from rich.table import Table

    table = Table(title=None, box=None, pad_edge=False)
    for name in ("trial", *(metric_of(m).label for m in metrics), "architecture"):
        table.add_column(name, justify="left" if name in ("trial", "architecture") else "right", overflow="fold")
    for row in front_lines(trials, metrics):
        table.add_row(*row)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(table, highlight=False)
