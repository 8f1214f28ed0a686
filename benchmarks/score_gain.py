"""Do zero-cost scores tell a search more than its model knows? Accuracies of finished trainings, held out.

python benchmarks/score_gain.py FOLDER ... [--scores naswot jacov] [--repeats 10] [--campaign runs/digits.yaml]

A folder is a run that holds its scores (`nas analyze RUN_DIR`), or a table of `benchmarks/train_table.py`, made from
--campaign, whose scores are computed here and kept beside it in scores.jsonl. The model of the sampler `pareto` is
fitted to half of the networks, drawn at random, without and with columns for scores, and predicts the other half:
Kendall's tau, and the mean logarithm of the density at what was found. --scores: these; otherwise those that the gate
lets through.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau, norm

from evaluators.zero_cost.base import SCORES, SIZES
from evaluators.zero_cost.batches import mini_batches
from nas.campaign import Campaign, load_campaign
from nas.known_costs import KnownCosts
from nas.network_scores import NetworkScores, verdicts
from nas.objective import Objective
from nas.run import load_run
from nas.samplers.base import Knowledge
from nas.samplers.candidates import Pool, Rows
from nas.samplers.judge import fit
from nas.samplers.scored import ScoredPool
from nas.score_report import kept_scores
from nas.trial import Trial
from nas.worker import dataset_of
from search_spaces.vit import make_space

ACCURACY = Objective(name="accuracy", direction="maximize")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--scores", nargs="+", default=[])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--campaign", type=Path, default=Path("runs/digits.yaml"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for folder in options.folders:
        table = (folder / "architectures.jsonl").is_file()
        campaign = load_campaign(options.campaign) if table else load_run(folder).campaign
        pool = pool_of(campaign)
        trials = from_table(folder, campaign, pool, options.scores) if table else from_run(folder, pool)
        names = options.scores or passed(trials, campaign.seed)
        print(f"{folder}: {len(trials)} networks, scores {', '.join(names) or 'none'}", flush=True)
        report(pool, trials, names, options.repeats)


def pool_of(campaign: Campaign) -> Pool:
    """Of the campaign's space, with exact costs alone."""
    data = dataset_of(campaign)
    shape = {"image_size": data.image_size, "in_chans": data.in_chans, "classes": data.classes}
    space = make_space(campaign.space.name, **shape, fix=campaign.space.fix, narrow=campaign.space.narrow)
    costs = KnownCosts(shape)
    return Pool(space, Knowledge(costs=costs, expect=costs.many), seed=0)


def from_run(folder: Path, pool: Pool) -> list[Trial]:
    """The networks that the space can say today, with their accuracies and scores."""
    run, trials = load_run(folder), []
    scores = kept_scores(run)
    for trial in run.complete():
        code = pool.space.encode(trial.genotype)
        if code is not None and trial.hash in scores:
            trials.append(replace(trial, code=code, scores=scores[trial.hash]["values"]))
    return trials


def from_table(folder: Path, campaign: Campaign, pool: Pool, names: Sequence[str]) -> list[Trial]:
    """Networks trained to the end with seed 0."""
    rows = {r["hash"]: r for r in map(json.loads, (folder / "architectures.jsonl").read_text().splitlines())}
    ends = {c["hash"]: float(c["accuracy"]) for c in curves(folder) if int(c["epoch"]) == campaign.training.epochs}
    trials = []
    for number, (name, accuracy) in enumerate(ends.items()):
        code = rows[name]["code"]
        trials.append(
            Trial(
                number=number, kind="search", name=name, state="complete", genotype=pool.space.decode(code), hash=name,
                code=code, values={"accuracy": accuracy, **pool.tried(code).costs}, finished=float(number),
            )
        )  # fmt: skip
    return scored(trials, folder / "scores.jsonl", campaign, names)


def curves(folder: Path) -> list[dict[str, str]]:
    with (folder / "curves.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["seed"] == "0"]


def scored(trials: list[Trial], kept: Path, campaign: Campaign, names: Sequence[str]) -> list[Trial]:
    """With the named scores, or all, computed where the file lacks them."""
    data = dataset_of(campaign)
    wanted = list(names) or [name for name in SCORES if name not in SIZES]
    make = NetworkScores(wanted, mini_batches(data, seed=campaign.seed), data.classes, campaign.seed)
    lines = kept.read_text().splitlines() if kept.is_file() else []
    values = {line["hash"]: line["values"] for line in map(json.loads, lines)}
    for trial in trials:
        if not {*wanted} <= {*values.get(trial.hash, {})}:
            values[trial.hash] = {**make.of(trial.genotype)}
            kept.open("a").write(json.dumps({"hash": trial.hash, "values": values[trial.hash]}) + "\n")
    return [replace(t, scores=values[t.hash]) for t in trials]


def passed(trials: list[Trial], seed: int) -> list[str]:
    names = sorted({name for t in trials for name in t.scores} - {*SIZES})
    return [v.score for v in verdicts(trials, names, seed) if v.used]


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
