"""Forecasts of what more trials add, against what they added: searches on complete tables, and campaigns replayed.

    python benchmarks/stopping_advice.py [--tables DIR] [--seeds 2] [--samplers random ...] [--runs RUN_DIR ...]

At every mark the forecast of the report sees the trials so far and their reference point, and is asked for half as many
again. `covered`: share of gains inside the 90 % interval (to 0.1 % of the hypervolume); `above`: beyond its upper end.
`chance` is the mean forecast that a gain of 1 % or more follows, `followed` how often it did; the last columns say for
every advice of the report how often it was given and the gain that followed on average.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sampler_peers import OWN, PEERS
from samplers import DEFAULT, problems

from nas.objective import losses
from nas.pareto import hypervolume_history, reference_point
from nas.reporting.growth import ENOUGH, LEAST, Growth
from nas.reporting.stopping import LIKELY, UNLIKELY, WINDOW, WORTH
from nas.run import load_run

MARKS = (20, 30, 45, 65, 100, 150, 200)
SAMPLERS = {"random": 300, "our tpe": 150, "pareto": 68}  # and for how many trials, as slow as they are
SPACING = 1.25  # between the marks of a campaign


def main() -> None:
    parser = argparse.ArgumentParser(description="forecasts of further gains against what followed")
    parser.add_argument("--tables", type=Path, default=DEFAULT, help="a folder with the tables")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--samplers", nargs="*", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--only", nargs="*", help="some devices only, such as titanx_256")
    parser.add_argument("--runs", nargs="*", default=[], type=Path, help="folders of campaigns to replay")
    options = parser.parse_args()
    found = [row for path in options.runs for row in replayed(path)]
    for name in options.samplers:
        found += searched(name, options.tables, options.seeds, options.only)
    print(summary(pd.DataFrame(found)).to_string(index=False))


def searched(name: str, folder: Path, seeds: int, only: list[str] | None) -> Iterator[dict[str, object]]:
    """Every device with seeds of its own: searches of one seed would look at the same networks first."""
    search, trials = (OWN | PEERS)[name], SAMPLERS[name]
    marks = [m for m in MARKS if WINDOW * m <= trials]
    for i, problem in enumerate(problems(folder, None)):
        for seed in range(seeds if not only or problem.device in only else 0):
            places = search(problem, trials, 1000 * i + seed)
            yield from judged(name, problem.losses[places], marks)


def replayed(path: Path) -> Iterator[dict[str, object]]:
    """A campaign as it stood after fewer trials."""
    run = load_run(path)
    found = sorted(run.complete(), key=lambda t: t.finished or t.started)
    marks = _spaced(ENOUGH, len(found) / WINDOW)
    yield from judged("campaigns", losses([t.values for t in found], run.campaign.objective_list), marks)


def _spaced(first: int, last: float) -> list[int]:
    steps = int(np.log(max(last / first, 1.0)) / np.log(SPACING)) + 1 if last >= first else 0
    return [int(last / SPACING**i) for i in range(steps)]


def judged(name: str, table: np.ndarray, marks: Iterable[int]) -> Iterator[dict[str, object]]:
    """table: (trials, objectives) losses in their order."""
    for mark in marks:
        later = round(WINDOW * mark)
        volumes = hypervolume_history(table[:later], reference_point(table[:mark]))
        growth = Growth.fit(volumes[:mark])
        if growth is None:
            continue
        gain, more = volumes[-1] / volumes[mark - 1] - 1, later - mark
        low, high = growth.quantile(more, 0.05), growth.quantile(more, 0.95)
        yield {
            "sampler": name, "trials": mark, "gain": gain, "middle": growth.quantile(more, 0.5), "high": high,
            "covered": low - LEAST <= gain <= high + LEAST, "above": gain > high + LEAST,
            "chance": growth.chance(more, WORTH), "followed": gain >= WORTH,
        }  # fmt: skip


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """One row per sampler and mark; the marks of campaigns lie everywhere and are taken together."""
    found["trials"] = found["trials"].where(found["sampler"] != "campaigns", 0)
    advice = np.select([found["chance"] < UNLIKELY, found["chance"] > LIKELY], ["stop", "go on"], "open")
    records = []
    for (name, mark), group in found.groupby(["sampler", "trials"], sort=False):
        line = {"sampler": name, "trials": mark or "any", "forecasts": len(group), "mean gain": _percent(group["gain"])}
        line |= {"middle": _percent(group["middle"]), "high": _percent(group["high"])}
        line |= {c: f"{group[c].mean():.2f}" for c in ("covered", "above", "chance", "followed")}
        for word in ("stop", "open", "go on"):
            given = group["gain"][advice[group.index] == word]
            line[word] = f"{len(given)}: {_percent(given)}" if len(given) else "0"
        records.append(line)
    return pd.DataFrame(records)


def _percent(values: pd.Series) -> str:
    return f"{100 * values.mean():.1f} %"


if __name__ == "__main__":
    main()
