"""How well an early score orders trials: Kendall's tau with the end of the schedule, and with another seed's end."""

import numpy as np
import pandas as pd
from fidelity_tables import accuracies
from scipy.stats import kendalltau

SHARES = (0.05, 0.1, 0.25, 0.5)  # of the schedule
DRAWS = 1000  # of the bootstrap over trials
INSIDE = 0.95  # of its intervals
Tau = tuple[float, float, float]  # and its interval


def rank_correlations(table: pd.DataFrame) -> dict[str, dict[str, Tau]]:
    """Kendall's tau of the accuracy at a share of the schedule with that at its end; against another seed as well.

    ceiling: of the ends of two seeds, which is what the noise of a seed leaves of a perfect score.
    """
    first, *others = accuracies(table)
    epochs, found = first.shape[1], dict[str, dict[str, Tau]]()
    ends = {"same seed": first[epochs]}
    if others:
        ends["other seed"] = others[0][epochs]
    for share in SHARES:
        at = first[max(1, int(np.ceil(round(share * epochs, 6))))]
        found[f"{share:.0%}"] = {name: tau(at, end) for name, end in ends.items()}
    if others:
        found["ceiling"] = {"other seed": tau(first[epochs], ends["other seed"])}
    return found


def tau(a: pd.Series, b: pd.Series) -> Tau:
    """Over the trials that both have, with the interval of a bootstrap over trials (seed 0)."""
    pairs = np.column_stack(a.align(b, join="inner"))
    rng = np.random.default_rng(0)
    drawn = [_tau(pairs[rng.integers(len(pairs), size=len(pairs))]) for _ in range(DRAWS)]
    low, high = np.nanquantile(drawn, [(1 - INSIDE) / 2, (1 + INSIDE) / 2])
    return _tau(pairs), float(low), float(high)


def _tau(pairs: np.ndarray) -> float:
    return float(kendalltau(*pairs.T).statistic)
