"""What a search costs beside its trials: wall time per trial when the trials themselves are free.

python benchmarks/overhead.py [--trials 200] [--backend ray|inline] [--sampler tpe] [--json FILE]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from free_worker import FreeWorker

from nas.campaign import Campaign
from nas.session import search


def measure(trials: int, backend: str, sampler: str) -> dict[str, float | int | str]:
    campaign = Campaign.model_validate({
        "name": "overhead",
        "data": {"source": "digits"},
        "objectives": {"accuracy": "maximize", "macs_g": "minimize"},
        "sampler": {"name": sampler},
        "budget": {"trials": trials, "minutes": 60.0},
        "execution": {"backend": backend, "workers": 2},
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = search(campaign, runs=folder, quiet=True, make_worker=FreeWorker)
        seconds = time.perf_counter() - start
        starts = sorted(t.started for t in run.searched())
    steady = (starts[-1] - starts[0]) / max(1, len(starts) - 1)
    return {
        "backend": backend, "sampler": sampler, "trials": len(starts), "seconds": round(seconds, 2),
        "seconds_per_trial": round(seconds / len(starts), 4), "seconds_per_trial_steady": round(steady, 4),
        "rejected": len(run.rejections),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--backend", choices=("ray", "inline"), default="ray")
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = measure(args.trials, args.backend, args.sampler)
    for key, value in found.items():
        print(f"{key:26} {value}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
