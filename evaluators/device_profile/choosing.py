"""What to measure next: units where the sum over a network is least certain, and networks unlike those measured."""

from collections.abc import Collection, Sequence

import numpy as np

from evaluators.device_profile.unit_model import UnitModel
from evaluators.device_profile.units import Placed, Unit

LEAST = 6  # units of every family before certainty counts


def choose_units(
    networks: Sequence[Sequence[Placed]],
    model: UnitModel | None,
    measured: Collection[Unit],
    rng: np.random.Generator,
    *,
    rounds: int = 20,
    overhead_s: float = 0.02,
) -> list[Unit]:
    """The units of these networks that are not measured yet, in the order in which to measure them.

    Without a model by how often they occur, families in turn. With one, units are drawn without replacement in
    proportion to what they add to the variance of the logarithm of networks' costs, (times · ms · deviation / total)²,
    summed over networks, for each second that measuring them takes; drawing spreads a session over units that say the
    same.
    """
    different = list({placed.unit: None for network in networks for placed in network})
    if model is None:
        weight = _occurrence(networks, different)
    else:
        ms, deviation = model.predict(different)
        weight = _variance(networks, different, ms, deviation) / (overhead_s + rounds * ms / 1e3)
    score = np.log(np.maximum(weight, 1e-30)) + rng.gumbel(size=len(different))
    known = set(measured)
    order = [different[i] for i in np.argsort(-score) if different[i] not in known]
    return _families_first(order, known)


def choose_spread(x: np.ndarray, count: int, taken: Sequence[int] = ()) -> list[int]:
    """Rows of x (n, f) that lie far from each other and from those taken: each next one is the farthest there is."""
    deviation = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0)
    chosen, found = list(taken) or [int(np.argmin((z**2).sum(axis=1)))], list[int]()
    if not taken:
        found.append(chosen[0])
    nearest = np.min([((z - z[i]) ** 2).sum(axis=1) for i in chosen], axis=0)
    while len(found) < min(count, len(x) - len(taken)):
        row = int(np.argmax(nearest))
        found.append(row)
        nearest = np.minimum(nearest, ((z - z[row]) ** 2).sum(axis=1))
    return found


def _occurrence(networks: Sequence[Sequence[Placed]], different: list[Unit]) -> np.ndarray:
    index = {unit: i for i, unit in enumerate(different)}
    weight = np.zeros(len(different))
    for network in networks:
        for placed in network:
            weight[index[placed.unit]] += placed.times
    return weight


def _variance(
    networks: Sequence[Sequence[Placed]], different: list[Unit], ms: np.ndarray, deviation: np.ndarray
) -> np.ndarray:
    index = {unit: i for i, unit in enumerate(different)}
    weight = np.zeros(len(different))
    for network in networks:
        at = np.array([index[placed.unit] for placed in network])
        spent = np.array([placed.times for placed in network]) * ms[at]
        np.add.at(weight, at, (spent * deviation[at] / spent.sum()) ** 2)
    return weight


def _families_first(order: list[Unit], measured: set[Unit]) -> list[Unit]:
    """Families with too few units to learn from come first, in turns."""
    count: dict[str, int] = {}
    for unit in measured:
        count[unit.family] = count.get(unit.family, 0) + 1
    early, late = list[tuple[int, Unit]](), list[Unit]()
    for unit in order:
        turn = count.get(unit.family, 0)
        if turn < LEAST:
            count[unit.family] = turn + 1
            early.append((turn, unit))
        else:
            late.append(unit)
    return [unit for _, unit in sorted(early, key=lambda pair: pair[0])] + late
