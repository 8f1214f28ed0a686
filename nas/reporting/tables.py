"""The tables of a campaign: every trial, the front, what was refused, what failed; as data frames and as Markdown."""

from collections import Counter
from shlex import quote
from typing import Any

import pandas as pd

from nas.errors import UserError
from nas.objective import in_order, losses
from nas.pareto import knee_index
from nas.reporting.classes import main_class
from nas.run import Run
from nas.trial import Trial

PHASES = ("train", "measure", "wait", "setup")
IDENTITY = ["trial", "kind", "name", "state", "hash", "class", "architecture"]


def trials_table(run: Run) -> pd.DataFrame:
    """One row per trial and reference: identity, measurements with intervals, seconds, then one column per dimension.

    A dimension that has no effect on the trial's network is missing in its row.
    """
    columns = (
        IDENTITY
        + measurement_columns(run)
        + [f"{p}_s" for p in PHASES]
        + ["joules"] * any(t.joules is not None for t in run.trials)
        + ["epochs", "started", "finished", "error", "notes"]
    )
    codes = active_codes(run)
    dimensions = sorted({name for code in codes.values() for name in code})
    records = [_record(run, t) | codes.get(t.number, {}) for t in run.trials]
    table = pd.DataFrame(records, columns=columns + dimensions)
    for name in dimensions:  # a column holds one type, as Parquet wants it
        kinds = {type(v) for v in table[name] if not _missing(v)}
        if len(kinds) > 1 and str in kinds:
            table[name] = [v if _missing(v) else str(v) for v in table[name]]
    return table.convert_dtypes()


def front_table(run: Run) -> pd.DataFrame:
    """The front, cheapest first: measurements, the knee, and the commands that export and train each member.

    p_dominated: how probable it is that another trial dominates the member, where costs have intervals.
    """
    members = run.front()
    knee, beaten = knee_of(run, members), run.p_dominated()
    records = [
        _record(run, t)
        | {"knee": t.number == knee, "export": export_command(run, t), "train": train_command(run, t)}
        | {"p_dominated": beaten.get(t.number)}
        for t in members
    ]
    doubt = ["p_dominated"] if beaten else []
    columns = ["trial", "knee", *doubt, *measurement_columns(run), "class", "architecture", "hash", "export", "train"]
    return pd.DataFrame(records, columns=columns).convert_dtypes()


def rejections_table(run: Run) -> pd.DataFrame:
    """How many proposals were replaced before any work, by reason; a constraint by its metric."""
    counts = Counter((r.reason, r.detail if r.reason == "constraint" else "") for r in run.rejections)
    records = [{"reason": reason, "metric": detail, "proposals": n} for (reason, detail), n in counts.most_common()]
    return pd.DataFrame(records, columns=["reason", "metric", "proposals"])


def failures_table(run: Run) -> pd.DataFrame:
    """Trials and references that ended without a result, with their reasons."""
    bad = [t for t in run.trials if t.state in ("failed", "infeasible")]
    records = [
        {"trial": t.number, "name": t.name, "state": t.state, "reason": t.error or "no reason recorded"} for t in bad
    ]
    return pd.DataFrame(records, columns=["trial", "name", "state", "reason"])


def measurement_columns(run: Run) -> list[str]:
    """Every metric that some trial has, objectives first, each followed by its interval where one was measured."""
    objectives = [o.name for o in run.campaign.objective_list]
    seen = in_order(name for t in run.trials for name in t.values)
    with_interval = {name for t in run.trials for name in t.intervals}
    columns = []
    for name in dict.fromkeys([*objectives, *seen]):
        columns += [name, f"{name}_low", f"{name}_high"] if name in with_interval else [name]
    return columns + (["test_accuracy"] if run.test_accuracy else [])


def knee_of(run: Run, members: list[Trial]) -> int | None:
    """The number of the front's knee, or None when there is no front."""
    if not members:
        return None
    return members[knee_index(losses([t.values for t in members], run.campaign.objective_list))].number


def export_command(run: Run, trial: Trial) -> str:
    return f"nas export {quote(str(run.path))} --select trial:{trial.number} --to config,torch,onnx"


def train_command(run: Run, trial: Trial) -> str:
    config = run.path / "configs" / f"trial-{trial.number:04d}.yaml"
    return f"nas train {quote(str(config))} --data {quote(run.campaign.data.source)}"


def active_codes(run: Run) -> dict[int, dict[str, Any]]:
    """Trial number -> the dimensions of its code that shape its network; all of them where the space cannot be made."""
    codes = {t.number: dict(t.code) for t in run.searched() if t.code}
    space = space_of(run)
    if space is None:
        return codes
    try:
        return {n: {k: v for k, v in code.items() if k in space.active(code)} for n, code in codes.items()}
    except (UserError, LookupError):  # the record is from another version of the space
        return codes


def space_of(run: Run) -> Any | None:
    """The campaign's space, or None where its package or the size of its pictures is unknown."""
    data, known = run.campaign.data, run.environment.get("data") or {}
    size = data.image_size or known.get("image_size")
    if size is None:
        return None
    from search_spaces.vit import make_space

    try:
        return make_space(
            run.campaign.space.name, image_size=size, in_chans=data.in_chans or known.get("in_chans", 3),
            classes=known.get("classes", 10), fix=run.campaign.space.fix, narrow=run.campaign.space.narrow,
        )  # fmt: skip
    except UserError:
        return None


def markdown(table: pd.DataFrame) -> str:
    """A pipe table; numbers to four digits, missing cells empty."""
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + " --- |" * len(table.columns)]
    lines += ["| " + " | ".join(_cell(v) for v in row) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def _record(run: Run, t: Trial) -> dict[str, Any]:
    record: dict[str, Any] = {
        "trial": t.number, "kind": t.kind, "name": t.name, "state": t.state, "hash": t.hash,
        "class": main_class(t.genotype), "architecture": str(t.genotype), **t.values,
        "test_accuracy": run.test_accuracy.get(t.number), "epochs": len(t.curve),
        "started": t.started, "finished": t.finished, "error": t.error, "notes": "; ".join(t.notes) or None,
        "joules": t.joules,
    }  # fmt: skip
    record |= {f"{name}_low": low for name, (low, _) in t.intervals.items()}
    record |= {f"{name}_high": high for name, (_, high) in t.intervals.items()}
    return record | {f"{phase}_s": t.seconds.get(phase) for phase in PHASES}


def _cell(value: object) -> str:
    if _missing(value):
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and value != value)
