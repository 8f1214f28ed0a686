"""How far networks lie apart that their GMACs, activations and parameters cannot tell apart: what such columns allow.

python benchmarks/latency_twins.py [--tables ../shared/data/tables]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).parent))
from latency_tables import TABLES

NEAR = (0.0, 0.03, 0.1)  # largest difference of the logarithm of any column


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=Path, default=Path("../shared/data/tables"))
    tables = parser.parse_args().tables
    print("| table | columns within | pairs | networks | differ by (median) | pairs within 10 % |\n|---|" + "---:|" * 5)
    for name, (file, read) in TABLES.items():
        if name.startswith("timm") and (tables / file).exists():
            table = read(tables / file)
            for near in NEAR:
                print(f"| {name} | {100 * near:.0f} % | {_row(table.x, table.costs['ms per picture'], near)} |")


def _row(x: np.ndarray, cost: np.ndarray, near: float) -> str:
    pairs = cKDTree(x).query_pairs(near + 1e-9, p=np.inf, output_type="ndarray")
    ratio = np.exp(np.abs(np.diff(np.log(cost)[pairs], axis=1)))
    within = 100 * np.mean(ratio <= 1.1)
    return f"{len(pairs)} | {len(np.unique(pairs))} | {100 * np.median(ratio - 1):.1f} % | {within:.0f} %"


if __name__ == "__main__":
    main()
