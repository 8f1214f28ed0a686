"""`nas analyze`: which zero-cost scores say more than size does about a campaign's own trials, as table and as data."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import evaluators.zero_cost  # noqa: F401  registers the scores
from evaluators.zero_cost.base import SCORES, SIZES
from evaluators.zero_cost.batches import COUNT, SIZE, mini_batches
from evaluators.zero_cost.compute import ScoreResult
from evaluators.zero_cost.gate import LEAST_TRIALS, judge
from evaluators.zero_cost.many import score_genotypes
from nas.errors import UserError
from nas.listing import print_rows
from nas.run import Run, load_run
from nas.trial import Trial
from nas.worker import dataset_of, resolve_device

FILE = "scores.json"  # in the run folder
VERSION = 1  # of what scores mean: a change of a formula makes kept values worthless
RAY_FROM = 32  # networks: below, starting Ray takes longer than it saves
LEGEND = """
tau: Kendall's, with the validation accuracy; partial: given params, macs and depth (a size given the two others)
rest: tau of what a smooth function of the sizes leaves of score and accuracy, which noisy copies of a size do not pass
intervals: 95 % bootstrap over the trials; a score is used when both lie above 0
seconds: of one processor, per network, as if the score were computed alone"""
Kept = dict[str, dict[str, Any]]  # hash -> values, errors, seconds by score


def report_scores(run_dir: Path | str, *, scores: Sequence[str] = (), limit: int | None = None) -> dict[str, Any]:
    """The gate's table over the finished trials of a run; scores once computed are kept in its folder.

    scores: which, all by default. limit: only so many trials, the first. Raises UserError.
    """
    names = list(dict.fromkeys((*SIZES, *_known(scores))))
    run = load_run(run_dir)
    trials = _finished(run, limit)
    found = _scored(run, trials, names)
    wanted = [name for name in names if not scores or name in scores]
    return {
        "run": str(run.path),
        "trials": len(trials),
        "scores": [_row(name, [found[t.hash] for t in trials], trials) for name in wanted],
    }


def print_scores(report: dict[str, Any]) -> None:
    """One line per score on stdout."""
    print(f"{report['run']}: {report['trials']} finished trials\n")
    print_rows([_cells(row) for row in report["scores"]])
    print(LEGEND)


def _known(scores: Sequence[str]) -> list[str]:
    """Names as given; a wrong one raises UserError with the nearest match."""
    for name in scores:
        SCORES[name]
    return list(scores or SCORES)


def _finished(run: Run, limit: int | None) -> list[Trial]:
    """One trial per architecture, as samplers see them."""
    complete = {t.hash: t for t in reversed(run.searched()) if t.state == "complete" and "accuracy" in t.values}
    trials = sorted(complete.values(), key=lambda t: t.number)[:limit]
    if len(trials) < LEAST_TRIALS:
        what = "--limit leaves" if limit is not None and limit < len(complete) else "the campaign has"
        raise UserError(f"{run.path}: {what} {len(trials)} finished trials; at least {LEAST_TRIALS} are needed")
    return trials


def _scored(run: Run, trials: list[Trial], names: list[str]) -> Kept:
    """By hash; only what the run folder does not hold yet is computed."""
    kept = kept_scores(run)
    missing = [t for t in trials if any(n not in _named(kept.get(t.hash)) for n in names)]
    if not missing:
        return kept
    data, execution = dataset_of(run.campaign), run.campaign.execution
    device = resolve_device(execution.device)
    workers = execution.workers if execution.backend == "ray" and len(missing) >= RAY_FROM and device == "cpu" else 0
    results = score_genotypes(
        [t.genotype for t in missing], mini_batches(data, seed=run.campaign.seed), names,
        classes=data.classes, seed=run.campaign.seed, device=device, workers=workers,
    )  # fmt: skip
    try:
        for done, (trial, result) in enumerate(zip(missing, results, strict=True), start=1):
            kept[trial.hash] = _merged(kept.get(trial.hash), result)
            print(f"\rscores of {done} of {len(missing)} networks", end="", file=sys.stderr, flush=True)
    finally:  # Ctrl-C loses nothing
        print(file=sys.stderr)
        _write(run, kept)
    return kept


def _named(entry: dict[str, Any] | None) -> set[str]:
    return set() if entry is None else {*entry["values"], *entry["errors"]}


def _merged(entry: dict[str, Any] | None, result: ScoreResult) -> dict[str, Any]:
    new = asdict(result)
    return new if entry is None else {part: entry[part] | new[part] for part in new}


def _stamp(run: Run) -> dict[str, Any]:
    """What the scores hold for; other data or another seed start anew."""
    campaign = run.campaign
    data = campaign.data.model_dump(mode="json")
    return {"version": VERSION, "seed": campaign.seed, "data": data, "batches": [COUNT, SIZE]}


def kept_scores(run: Run) -> Kept:
    """What the run folder holds: by hash, values, errors and seconds by score."""
    path = run.path / FILE
    try:
        held = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    networks: Kept = held["networks"] if isinstance(held, dict) and held.get("stamp") == _stamp(run) else {}
    return networks


def _write(run: Run, kept: Kept) -> None:
    """Whole or not at all."""
    partial = run.path / f"{FILE}.partial"
    partial.write_text(json.dumps({"stamp": _stamp(run), "networks": kept}))
    partial.replace(run.path / FILE)


def _row(name: str, found: list[dict[str, Any]], trials: list[Trial]) -> dict[str, Any]:
    columns = {score: [each["values"].get(score) for each in found] for score in {name, *SIZES}}
    verdict = judge(name, columns, [t.values["accuracy"] for t in trials])
    seconds = [each["seconds"][name] for each in found if name in each["seconds"]]
    errors = [each["errors"][name] for each in found if name in each["errors"]]
    return asdict(verdict) | {
        "seconds": fmean(seconds) if seconds else None,
        "absent": len(errors),
        "first_error": errors[0] if errors else None,
    }


def _cells(row: dict[str, Any]) -> dict[str, str]:
    absent = f"; absent for {row['absent']}: {row['first_error']}" if row["absent"] else ""
    return {
        "score": row["score"],
        "tau": _number(row["tau"]),
        "partial": _number(row["partial"]),
        "interval": _range(row["interval"]),
        "rest": _number(row["rest"]),
        "its interval": _range(row["rest_interval"]),
        "used": "yes" if row["used"] else "no",
        "seconds": "" if row["seconds"] is None else f"{row['seconds']:.3f}",
        "why": row["reason"] + absent,
    }


def _range(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
