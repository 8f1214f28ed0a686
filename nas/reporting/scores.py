"""Zero-cost scores in a campaign: which of them the gate let through, from when on, and what they had a say in."""

from collections import Counter
from typing import Any

import pandas as pd

from nas.run import Run


def scores_table(run: Run) -> pd.DataFrame:
    """One row per score and look of the gate. networks: search trials chosen between this look and the next."""
    starts = [t.started for t in run.searched()]
    times = [*(at for _, at, _ in run.gates), float("inf")]
    records = []
    for (trials, at, verdicts), until in zip(run.gates, times[1:], strict=True):
        chosen = sum(at <= start < until for start in starts)
        records += [_record(verdict, trials, chosen) for verdict in verdicts]
    columns = ["trials", "score", "used", "partial", "low", "high", "networks", "reason"]
    rows = records or [
        {"trials": 0, "score": name, "used": False, "networks": 0} for name in run.campaign.sampler.scores
    ]
    return pd.DataFrame(rows, columns=columns).convert_dtypes()


def _record(verdict: dict[str, Any], trials: int, chosen: int) -> dict[str, Any]:
    low, high = verdict["interval"] or (None, None)
    return {
        "trials": trials, "score": verdict["score"], "used": verdict["used"], "partial": verdict["partial"],
        "low": low, "high": high, "networks": chosen if verdict["used"] else 0, "reason": verdict["reason"],
    }  # fmt: skip


def scores_words(run: Run) -> str:
    """A sentence for each score, and one for those that have no value for some networks."""
    table = scores_table(run)
    said = [_sentence(str(name), rows) for name, rows in table.groupby("score", sort=False)]
    return " ".join([*said, *absent_words(run)])


def _sentence(name: str, rows: pd.DataFrame) -> str:
    """Of one score, from the looks of the gate at it."""
    last, used = rows.iloc[-1], rows[rows["used"]]
    if not last["trials"]:
        return f"{name} was never used: the gate looks at 20 finished trials or more."
    if used.empty:
        return f"{name} was never used: after {last['trials']} trials, {last['reason']}."
    first, networks = used.iloc[0]["trials"], int(rows["networks"].sum())
    ended = "" if last["used"] else f", and no more after {last['trials']}: {last['reason']}"
    many = "1 network" if networks == 1 else f"{networks} networks"
    return f"{name} says more than size does from {first} trials on{ended}; it had a say in {many}."


def absent_words(run: Run) -> list[str]:
    """How many searched networks lack a score that others have."""
    scored = [t for t in run.searched() if t.scores or any(n.startswith("score ") for n in t.notes)]
    missing = Counter(name for t in scored for name in run.campaign.sampler.scores if name not in t.scores)
    return [
        f"{name} has no value for {n} of {len(scored)} networks, which counts as average."
        for name, n in missing.items()
    ]
