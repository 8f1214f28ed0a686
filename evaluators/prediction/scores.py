"""How good predicted costs are: shares within 5 and 10 %, relative error, rank agreement."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau, spearmanr


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Fractions (0..1) within ±5 and ±10 %, root mean square percentage error (%), Spearman's ρ, Kendall's τ."""

    within_5: float
    within_10: float
    rmspe: float
    spearman: float
    kendall: float


def score(predicted: np.ndarray, measured: np.ndarray) -> Scores:
    """Agreement of predictions with measurements, relative to the measurement."""
    error = np.abs(predicted / measured - 1)
    constant = np.ptp(predicted) == 0 or np.ptp(measured) == 0  # ranks of a constant agree with nothing
    return Scores(
        within_5=float(np.mean(error <= 0.05)),
        within_10=float(np.mean(error <= 0.10)),
        rmspe=100 * float(np.sqrt(np.mean(error**2))),
        spearman=0.0 if constant else float(spearmanr(predicted, measured).statistic),
        kendall=0.0 if constant else float(kendalltau(predicted, measured).statistic),
    )
