"""What is in a trained table: accuracies, costs, the noise of a seed, and how often each mechanism occurs.

python benchmarks/describe_table.py [benchmarks/tables/digits]
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from trained_table import FIRST, TrainedTable, read_trained

from nas.genotype import NONE
from nas.objective import COSTS

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
SECOND = 1  # the other seed
LEARNT = 0.5  # validation accuracy below which a network is said to have learnt nothing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("benchmarks/tables/digits"))
    table = read_trained(parser.parse_args().folder)
    print(f"{len(table.rows)} architectures of {table.epochs} epochs, {table.missing} without a whole training\n")
    print(quantiles(table).round(4).to_string(), "\n")
    print(noise(table), "\n")
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


def mechanisms(table: TrainedTable) -> Counter[str]:
    """Kind of mechanism -> architectures that have it."""
    return Counter(kind for row in table.rows for kind in set(row.genotype.mechanisms()) - {NONE.kind})


if __name__ == "__main__":
    main()
