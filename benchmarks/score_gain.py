"""Do zero-cost scores tell a search more than its model knows? Accuracies of finished runs, held out.

python benchmarks/score_gain.py RUN_DIR ... [--scores naswot jacov] [--repeats 10]

The runs hold their scores (`nas analyze RUN_DIR`). The model of the sampler `pareto` is fitted to half of the trials,
drawn at random, without and with columns for scores, and predicts the other half: Kendall's tau, and the mean logarithm
of the density at what was found. --scores: these, whatever the gate says; otherwise those that it lets through here.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, norm

from nas.network_scores import verdicts
from nas.objective import Objective
from nas.run import Run, load_run
from nas.samplers.base import Knowledge
from nas.samplers.candidates import Pool, Rows
from nas.samplers.judge import fit
from nas.samplers.scored import ScoredPool
from nas.score_report import kept_scores
from nas.session import prepare
from nas.trial import Trial

ACCURACY = Objective(name="accuracy", direction="maximize")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--scores", nargs="+", default=[])
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    for folder in options.runs:
        run = load_run(folder)
        pool, trials = prepared(run)
        names = options.scores or passed(run, trials)
        print(f"{folder}: {len(trials)} trials, scores {', '.join(names) or 'none'}")
        report(pool, trials, names, options.repeats)


def prepared(run: Run) -> tuple[Pool, list[Trial]]:
    """The networks of the run as its space says them today, with their accuracies and scores."""
    setup, scores = prepare(run.campaign), kept_scores(run)
    trials = []
    for trial in run.complete():
        code = setup.space.encode(trial.genotype)
        if trial.kind == "search" and code is not None and trial.hash in scores:
            trials.append(replace(trial, code=code, scores=scores[trial.hash]["values"]))
    return Pool(setup.space, Knowledge(costs=setup.costs, expect=setup.costs.many), seed=0), trials


def passed(run: Run, trials: list[Trial]) -> list[str]:
    names = sorted({name for t in trials for name in t.scores} - {"params", "macs", "depth"})
    return [v.score for v in verdicts(trials, names, run.campaign.seed) if v.used]


def report(pool: Pool, trials: list[Trial], names: Sequence[str], repeats: int) -> None:
    """Means over the halves, and the mean gain with its standard error."""
    rows: dict[str, Rows] = {"without": pool, "with": ScoredPool(pool, names, trials)}
    found = {label: np.array([held_out(each, trials, seed) for seed in range(repeats)]) for label, each in rows.items()}
    gain = found["with"] - found["without"]
    for i, measure in enumerate(("tau", "log density")):
        means = ", ".join(f"{label} {values[:, i].mean():.3f}" for label, values in found.items())
        print(f"  {measure}: {means}; gain {gain[:, i].mean():+.3f} ± {gain[:, i].std(ddof=1) / repeats**0.5:.3f}")


def held_out(rows: Rows, trials: list[Trial], seed: int) -> tuple[float, float]:
    """(tau, mean log density) of the second half."""
    order = np.random.default_rng(seed).permutation(len(trials))
    known, rest = ([trials[i] for i in part] for part in np.array_split(order, 2))
    model = fit(rows, known, ACCURACY, seed)
    mean, deviation = model.predict(rows.rows([rows.tried(t.code) for t in rest]))
    noise = model.seen.size * np.exp(model.process.theta[3] / 2)
    losses = np.array([-t.values["accuracy"] for t in rest])
    density = norm.logpdf(losses, mean, np.hypot(deviation, noise))
    return float(kendalltau(mean, losses)[0]), float(density.mean())


if __name__ == "__main__":
    main()
