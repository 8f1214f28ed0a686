"""How many reference networks does a campaign's front dominate, under the same recipe, over several seeds?

    python benchmarks/references.py [--campaign runs/digits.yaml] [--seeds 3] [--set budget.minutes=10] [--json FILE]

A reference is dominated when a front member is at least as accurate and costs at most as much in all other objectives.
The campaigns run one after the other into a temporary folder, or into --runs, where they can be resumed and looked at.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nas.campaign import load_campaign
from nas.objective import Objective, losses
from nas.run import Run
from nas.session import search


def compare(run: Run) -> list[dict[str, Any]]:
    """One row per reference: its values and the front members that dominate it."""
    objectives = run.campaign.objective_list
    front = run.front()
    table = losses([t.values for t in front], objectives)
    rows = []
    for reference in (t for t in run.references() if t.state == "complete"):
        beaten_by = _dominators(table, losses([reference.values], objectives)[0])
        rows.append(
            {
                "seed": run.campaign.seed,
                "reference": reference.name,
                **{o.name: round(reference.values[o.name], 4) for o in objectives},
                "dominated_by": [front[i].number for i in beaten_by],
            }
        )
    return rows


def _dominators(front: np.ndarray, point: np.ndarray) -> list[int]:
    return np.flatnonzero((front <= point).all(axis=1) & (front < point).any(axis=1)).tolist()


def worker_share(run: Run) -> float:
    """Share of the workers' wall time, from the first start to the last end, that went into training and measuring."""
    useful = sum(t.seconds.get("train", 0.0) + t.seconds.get("measure", 0.0) for t in run.trials)
    ends = [t.finished for t in run.trials if t.finished is not None]
    span = max(ends) - min(t.started for t in run.trials)
    return useful / (span * run.campaign.execution.workers)


def report(runs: list[Run], objectives: tuple[Objective, ...]) -> dict[str, Any]:
    rows = [row for run in runs for row in compare(run)]
    for row in rows:
        values = "  ".join(f"{o.name}={row[o.name]:.4g}" for o in objectives)
        by = ", ".join(map(str, row["dominated_by"])) or "nobody"
        print(f"seed {row['seed']}  {row['reference']:18} {values}  dominated by {by}")
    dominated = sum(bool(row["dominated_by"]) for row in rows)
    shares = [round(worker_share(run), 4) for run in runs]
    print(f"dominated: {dominated} of {len(rows)}; share of worker time in training and measuring: {shares}")
    fronts = [
        [{"trial": t.number, **{o.name: t.values[o.name] for o in objectives}} for t in run.front()] for run in runs
    ]
    return {
        "dominated": dominated,
        "references": len(rows),
        "rows": rows,
        "fronts": fronts,
        "worker_share": shares,
        "seconds": [round(run.seconds, 1) for run in runs],
        "rejected": [len(run.rejections) for run in runs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaign", type=Path, default=Path("runs/digits.yaml"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--runs", type=Path, help="keep the run folders here; what is there already is resumed")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, runs = args.runs or Path(scratch), []
        for seed in range(args.seeds):
            campaign = load_campaign(args.campaign, [*args.set, f"seed={seed}", f"name={args.campaign.stem}-{seed}"])
            there = (folder / campaign.name / "journal.jsonl").exists()
            runs.append(search(campaign, runs=folder, resume=there))
        found = report(runs, runs[0].campaign.objective_list)
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
