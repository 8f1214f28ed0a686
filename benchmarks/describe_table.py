"""What is in a trained table: accuracies, costs, the noise of a seed, and how often each mechanism occurs.

The noise is given twice: as a deviation, and as what it leaves of a front when all is trained again.

python benchmarks/describe_table.py [benchmarks/tables/digits]
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from trained_table import FIRST, TrainedTable, read_trained

from nas.fidelity.halving import promotion_order
from nas.genotype import NONE
from nas.objective import COSTS
from nas.pareto import front_indices, hypervolume, reference_point

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SECOND = 1  # the other seed
QUARTER = 0.25  # of the architectures with two seeds
LEARNT = 0.5  # validation accuracy below which a network is said to have learnt nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("benchmarks/tables/digits"))
    table = read_trained(parser.parse_args().folder)
    print(f"{len(table.rows)} architectures of {table.epochs} epochs, {table.missing} without a whole training\n")
    print(quantiles(table).round(4).to_string(), "\n")
    print(noise(table), "\n")
    print(f"{retrained(table).round(3).to_string(index=False)}\n")
    counts = mechanisms(table)
    print(f"{len(counts)} mechanisms; architectures with each:")
    print(", ".join(f"{name} {count}" for name, count in counts.most_common()))


def quantiles(table: TrainedTable) -> pd.DataFrame:
    """Of validation and test accuracy with the first seed, of the costs and of the seconds of a training."""
    tests = table.tests[table.tests["seed"] == FIRST].set_index("hash")["accuracy"]
    times = table.curves[table.curves["seed"] == FIRST].groupby("hash")["seconds"].max()
    columns = {"validation": table.wide()[table.epochs], "test": tests[tests.index.isin(table.wide().index)]}
    columns |= {name: pd.Series([row.costs[name] for row in table.rows]) for name in COSTS}
    return pd.DataFrame({name: c.quantile(QUANTILES) for name, c in (columns | {"seconds": times}).items()})


def noise(table: TrainedTable) -> str:
    """Deviation of one training from another of the same network, where both learnt anything."""
    pairs = pd.concat([table.wide(seed)[table.epochs] for seed in (FIRST, SECOND)], axis=1, join="inner").to_numpy()
    failed = int((table.wide()[table.epochs] < LEARNT).sum())
    text = f"{failed} with a validation accuracy below {LEARNT}; {len(pairs)} with a second seed"
    both = pairs[(pairs > LEARNT).all(axis=1)]
    if len(both) < 2:
        return text
    return f"{text}; deviation between seeds {np.sqrt((np.diff(both) ** 2).mean() / 2):.4f}, between networks " + (
        f"{both[:, 0].std(ddof=1):.4f} ({len(both)} that learnt with both)"
    )


def retrained(table: TrainedTable, costs: tuple[str, ...] = ("macs_g", "params_m")) -> pd.DataFrame:
    """Share of the hypervolume by one seed that the best by the other seed have, mean of both ways.

    So much does somebody reach who knows a whole training of every architecture. front: size of the front by the other
    seed, and its share; best quarter: the share of the first quarter of them all in the order of the ranks.
    """
    ends = pd.concat([table.wide(seed)[table.epochs] for seed in (FIRST, SECOND)], axis=1, join="inner")
    cost = {row.hash: row.costs for row in table.rows}
    lines = []
    for name in costs:
        bills = np.array([cost[h][name] for h in ends.index])
        one, other = (np.column_stack([-ends.iloc[:, i], bills]) for i in range(2))
        ways = [_shares_again(*pair) for pair in ((one, other), (other, one))] if len(ends) > 1 else []
        lines += [{"cost": name, "architectures": len(ends), **pd.DataFrame(ways).mean().to_dict()}]
    return pd.DataFrame(lines)


def _shares_again(seen: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Losses of the same rows by two seeds: chosen by the first, judged by the second."""
    corner = reference_point(truth)
    front, quarter = front_indices(seen), promotion_order(seen)[: round(QUARTER * len(seen))]
    front_share, quarter_share = (hypervolume(truth[rows], corner) for rows in (front, quarter))
    whole = hypervolume(truth, corner)
    return {"front": len(front), "share": front_share / whole, "best quarter": quarter_share / whole}


def mechanisms(table: TrainedTable) -> Counter[str]:
    """Kind of mechanism -> architectures that have it."""
    return Counter(kind for row in table.rows for kind in set(row.genotype.mechanisms()) - {NONE.kind})


if __name__ == "__main__":
    main()
