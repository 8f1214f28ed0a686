"""How long a sampler thinks in the real space: CPU time of proposals after many finished trials.

python benchmarks/asking.py [--sampler pareto] [--trials 100,1000] [--repeats 3]
"""

import argparse
import time

import numpy as np

from evaluators.cost import cost_metrics
from nas.genotype import Genotype
from nas.objective import Objective
from nas.samplers import make_sampler
from nas.samplers.base import Knowledge
from nas.trial import Trial
from search_spaces.space import Space
from search_spaces.vit import make_space

IMAGE_SIZE = 32
OBJECTIVES = (
    Objective(name="accuracy", direction="maximize"),
    Objective(name="latency_ms", direction="minimize"),
    Objective(name="params_m", direction="minimize"),
)
COMBINATIONS = ((0, 2), (0, 1), (0, 1, 2))  # all costs known, none known, one of two


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of proposals in vit_small")
    parser.add_argument("--sampler", default="pareto")
    parser.add_argument("--trials", default="100,1000")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    counts = [int(count) for count in options.trials.split(",")]
    space = make_space("vit_small", image_size=IMAGE_SIZE)
    history = made_up(space, max(counts) + options.repeats)
    for places in COMBINATIONS:
        objectives = tuple(OBJECTIVES[i] for i in places)
        for count in counts:
            first, *later = asked(space, options.sampler, objectives, history, count, options.repeats)
            names = ", ".join(o.name for o in objectives)
            print(f"{names}: {count} trials: first {first:.2f} s, then {np.median(later):.2f} s", flush=True)


def asked(
    space: Space, name: str, objectives: tuple[Objective, ...], history: list[Trial], count: int, repeats: int
) -> list[float]:
    """CPU seconds of one proposal in a new process, and of those that follow, each after one more trial."""
    sampler, seconds = make_sampler(name, objectives), []
    sampler.knowledge = Knowledge(costs=costs)
    for number in range(count, count + repeats + 1):
        begun = time.process_time()
        sampler.propose(space, history[:number], [], number, 0)
        seconds.append(time.process_time() - begun)
    return seconds


def made_up(space: Space, count: int) -> list[Trial]:
    """Finished trials of random networks with a plausible accuracy and latency."""
    rng, found = np.random.default_rng(0), []
    for number in range(count):
        code = space.sample(rng)
        genotype = space.decode(code)
        known = costs(genotype)
        guessed = {
            "accuracy": 0.5 + 0.1 * np.log(known["macs_g"] + 1e-3) + 0.02 * rng.normal(),
            "latency_ms": 1 + 10 * known["macs_g"] * np.exp(0.1 * rng.normal()),
        }
        trial = Trial(
            number=number, kind="search", name=f"trial {number}", state="complete", genotype=genotype,
            hash=genotype.hash(), code=code, values={**known, **guessed}, finished=float(number),
        )  # fmt: skip
        found.append(trial)
    return found


def costs(genotype: Genotype) -> dict[str, float]:
    return cost_metrics(genotype, image_size=IMAGE_SIZE, classes=10)


if __name__ == "__main__":
    main()
