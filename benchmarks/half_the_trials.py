"""Does a sampler with half the trials find a front as good as another with all of them? A campaign over several seeds.

    python benchmarks/half_the_trials.py [--campaign runs/digits.yaml] [--samplers pareto tpe] [--seeds 5] [--runs DIR]
                                         [--set KEY=VALUE ...] [--json FILE]

For each seed the first sampler runs with half of the campaign's trials, the second with all. All hypervolumes have one
reference point, that of all trials together; costs are what the searches saw, accuracies those on the validation split.
Campaigns that ended are not run again, stopped ones are resumed.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from nas.campaign import Campaign, load_campaign
from nas.errors import UserError
from nas.history import replay
from nas.journal import read_journal
from nas.objective import losses
from nas.pareto import hypervolume, reference_point
from nas.session import search


def main() -> None:
    args = arguments()
    new, old = args.samplers
    tables: dict[tuple[str, int], np.ndarray] = {}
    for seed in range(args.seeds):
        for name in (old, new):
            campaign = campaign_of(args, name, seed, half=name == new)
            tables[name, seed] = searched(campaign, args.runs)
        print(words(summary({k: v for k, v in tables.items() if k[1] == seed}, new, old)), flush=True)
    found = summary(tables, new, old)
    print(words(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaign", type=Path, default=Path("runs/digits.yaml"))
    parser.add_argument("--samplers", nargs=2, default=["pareto", "tpe"], metavar=("HALF", "ALL"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--runs", type=Path, default=Path("runs/half"))
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def campaign_of(args: argparse.Namespace, sampler: str, seed: int, half: bool) -> Campaign:
    """Ended by its trials, seldom by the clock; without the references, which are no part of the search."""
    trials = load_campaign(args.campaign, args.set).budget.trials
    own = [
        f"sampler.name={sampler}", f"seed={seed}", f"name={args.campaign.stem}-{sampler}-{seed}", "references=[]",
        "budget.minutes=30", f"budget.trials={trials // 2 if half else trials}",
    ]  # fmt: skip
    return load_campaign(args.campaign, [*args.set, *own])


def searched(campaign: Campaign, runs: Path) -> np.ndarray:
    """(trials, objectives) losses of the complete trials, in the order in which they ended."""
    record = runs / campaign.name / "journal.jsonl"
    if not (record.exists() and any(e["event"] == "closed" for e in read_journal(record))):
        search(campaign, runs=runs, resume=record.exists(), quiet=True)
    events = [e for e in read_journal(record) if e["event"] not in ("remeasured", "scaled")]
    done = [t for t in replay(events).trials.values() if t.state == "complete" and t.kind == "search"]
    if not done:
        raise UserError(f"{record}: no trial is complete")
    return losses([t.values for t in sorted(done, key=lambda t: t.finished or 0)], campaign.objective_list)


def summary(tables: dict[tuple[str, int], np.ndarray], new: str, old: str) -> dict[str, Any]:
    """Hypervolumes as shares of that of everything found, per seed; `half` is the old sampler after as many trials."""
    everything = np.vstack(list(tables.values()))
    reference = reference_point(everything)
    whole = hypervolume(everything, reference)
    seeds = sorted({seed for _, seed in tables})
    rows = []
    for seed in seeds:
        first, second = tables[new, seed], tables[old, seed]
        volumes = [hypervolume(t, reference) / whole for t in (first, second, second[: len(first)])]
        rows.append(dict(zip(("seed", new, old, f"{old}, half"), (seed, *np.round(volumes, 5).tolist()), strict=True)))
    won = sum(row[new] > row[old] for row in rows)
    return {"reference": reference.tolist(), "rows": rows, "won": won, "seeds": len(seeds)}


def words(found: dict[str, Any]) -> str:
    names = [key for key in found["rows"][0] if key != "seed"]
    lines = [
        "  ".join([f"seed {row['seed']}", *(f"{name} {row[name]:.4f}" for name in names)]) for row in found["rows"]
    ]
    means = "  ".join(f"{name} {np.mean([row[name] for row in found['rows']]):.4f}" for name in names)
    return "\n".join([*lines, f"mean    {means}; the first is better in {found['won']} of {found['seeds']}"])


if __name__ == "__main__":
    main()
