"""Processor seconds of zero-cost scores on random networks of about 5 M parameters.

    python benchmarks/zero_cost_speed.py [--networks 20] [--size 32] [--seed 0] [--scores a b]

Networks of vit_small with 4 to 6 M parameters, two mini-batches of 16 pictures of noise, one thread. Seconds are the
processor's own, since those of the wall depend on what else runs; a core gives one of them in a second.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from statistics import fmean, median

import numpy as np
import torch

import evaluators.zero_cost  # noqa: F401  registers the scores
from evaluators.zero_cost.base import SCORES, Batch, Subject, subject_of
from evaluators.zero_cost.compute import compute_scores
from search_spaces.vit import make_space

CHEAPEST = ("params", "macs", "depth", "synflow", "log_synflow")
CLASSES = 10


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--size", type=int, default=32, help="pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scores", nargs="+", choices=list(SCORES), default=list(SCORES), help="beside the cheapest")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(options.seed)
    images = torch.randn(2, 16, 3, options.size, options.size, generator=draw)
    batches = [(x, torch.randint(0, CLASSES, (16,), generator=draw)) for x in images]
    subjects = list(sampled(options.networks, options.size, options.seed))
    names = list(dict.fromkeys((*CHEAPEST, *options.scores)))
    found = [compute_scores(subject, batches, names) for subject in subjects]
    print(f"{len(found)} networks of {fmean(s.params_m for s in subjects):.1f} M parameters; s, median and mean")
    for name in names:
        _print_row(name, [f.seconds[name] for f in found if name in f.seconds])
    together = [_seconds(subject, batches) for subject in subjects]
    _print_row(" + ".join(CHEAPEST), together)
    print(f"networks per second and core: {1 / fmean(together):.1f}")


def _seconds(subject: Subject, batches: list[Batch]) -> float:
    """Of the cheapest scores in one call, which share what they can."""
    start = time.process_time()
    compute_scores(subject, batches, CHEAPEST)
    return time.process_time() - start


def sampled(count: int, size: int, seed: int) -> Iterator[Subject]:
    """Random networks of 4 to 6 M parameters."""
    space, rng = make_space("vit_small", image_size=size, classes=CLASSES), np.random.default_rng(seed)
    while count:
        subject = subject_of(space.decode(space.sample(rng)), image_size=size, classes=CLASSES)
        if 4 <= subject.params_m <= 6:
            count -= 1
            yield subject


def _print_row(name: str, seconds: list[float]) -> None:
    print(f"{name:45} {median(seconds):7.3f} {fmean(seconds):7.3f}  ({len(seconds)})")


if __name__ == "__main__":
    main()
