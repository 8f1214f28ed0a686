"""Seconds that the exact costs of 10,000 random candidates take on one core, first and again.

python benchmarks/costs.py
"""

import time

import numpy as np

from evaluators.cost import cost_metrics
from search_spaces.vit import make_space

CANDIDATES = 10_000


def main() -> None:
    for name, size in (("vit_small", 32), ("vit_224", 224)):
        space, rng = make_space(name, image_size=size, classes=10), np.random.default_rng(0)
        genotypes = [space.decode(space.sample(rng)) for _ in range(CANDIDATES)]
        seconds = []
        for _ in range(3):
            start = time.process_time()
            for genotype in genotypes:
                cost_metrics(genotype, image_size=size, classes=10)
            seconds.append(time.process_time() - start)
        print(f"{name}: {seconds[0]:.2f} s the first time, {min(seconds[1:]):.2f} s afterwards")


if __name__ == "__main__":
    main()
