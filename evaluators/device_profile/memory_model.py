"""Peak memory of networks: weights, and what their units keep for a backward pass.

What units keep adds up exactly. In training the peak is close to weights, two moments of the optimizer and gradients
in part, and all that is kept; in inference to the weights and the most that one unit needs. Networks tell how close.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from evaluators.device_profile.composition import SMALLEST, Composition, Ledger, Sums
from evaluators.device_profile.records import NetworkRecord, UnitRecord
from evaluators.device_profile.unit_model import PARTS, UnitModel
from evaluators.device_profile.units import Placed
from evaluators.prediction.base import Prediction

WEIGHT_MB = 4e-6  # a float32
COPIES = {"inference": 1.0, "training": 3.5}  # of the weights; gradients fill up while what was kept is let go
NOTHING = 1e-4  # MB, for units that keep nothing: their logarithm must exist


class MemoryModel:
    """Peak memory in MB by phase, inference or training. batch: that of the measurements."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def fit(
        self,
        units: Sequence[UnitRecord],
        networks: Sequence[tuple[NetworkRecord, list[Placed]]],
        states: dict[str, Any] | None = None,
    ) -> Self:
        """states: what `state` gave, so that nothing is tuned again."""
        states = states or {}
        kept = {u.unit: u.kept_mb for u in units if u.kept_mb is not None}
        values = np.array(list(kept.values())) + NOTHING
        self._kept = UnitModel().fit(list(kept), values, states.get("kept"))
        self._peaks = {}
        for phase in COPIES:
            pairs = [(record.memory[phase], placed) for record, placed in networks if phase in record.memory]
            found = self._sums([placed for _, placed in pairs], phase, self.batch)
            self._peaks[phase] = Composition().fit(found, np.array([mb for mb, _ in pairs]), states.get(phase))
        return self

    def predict(self, networks: Sequence[Sequence[Placed]], phase: str, batch: int) -> Prediction:
        return self._peaks[phase].predict(self._sums(networks, phase, batch))

    def state(self) -> dict[str, Any]:
        return {"kept": self._kept.state(), **{phase: peak.state() for phase, peak in self._peaks.items()}}

    def _sums(self, networks: Sequence[Sequence[Placed]], phase: str, batch: int) -> Sums:
        """The ratio may depend on how the sum divides into weights and parts."""
        ledger = Ledger.of(networks, self._kept)
        weights = COPIES[phase] * WEIGHT_MB * ledger.costs()[:, 0]
        held = ledger.by_part() if phase == "training" else _largest(ledger)
        held = held * batch / self.batch
        total = np.maximum(weights + held.sum(axis=1), SMALLEST)
        spread = ledger.spread() if phase == "training" else np.zeros(len(total))
        x = np.column_stack([weights, held]) / total[:, None]
        return Sums(total=total, deviation=spread * batch / self.batch / total, x=x)


def _largest(ledger: Ledger) -> np.ndarray:
    """(n, parts): what the unit keeps that keeps most; nothing else."""
    found = np.zeros((len(ledger.networks), len(PARTS)))
    for row, (at, _) in enumerate(ledger.networks):
        top = at[np.argmax(ledger.ms[at])]
        found[row, ledger.part[top]] = ledger.ms[top]
    return found
