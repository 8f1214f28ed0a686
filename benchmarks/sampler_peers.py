"""What is compared in benchmarks/samplers.py: every sampler as a function from a problem to the rows it tried."""

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import numpy as np
import optuna
from sampler_tables import Problem

from nas.objective import Objective
from nas.samplers import make_sampler
from nas.samplers.base import Knowledge, Sampler
from nas.trial import Trial
from search_spaces.space import Code

Search = Callable[[Problem, int, int], list[int]]  # (problem, trials, seed) -> rows of the table in their order
MakeSampler = Callable[[int], optuna.samplers.BaseSampler]
OBJECTIVES = (
    Objective(name="accuracy", direction="maximize"),
    Objective(name="latency_ms", direction="minimize"),
)
ATTEMPTS = 30  # as in a campaign, where an architecture is trained once
PATIENCE_S = 120.0  # for one search of a sampler that gets slower with every trial

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def ours(name: str, knows: bool, problem: Problem, trials: int, seed: int) -> list[int]:
    """One of our samplers as a campaign asks it; knows: the costs of any candidate, as in a campaign."""
    sampler = make_sampler(name, OBJECTIVES, seed)
    sampler.knowledge = Knowledge(costs=problem.costs) if knows else Knowledge()
    history: list[Trial] = []
    places: list[int] = []
    for number in range(trials):
        code = next(_new(problem, sampler, history, places, number))
        network = problem.space.decode(code)
        places.append(problem.place[network])
        history.append(trial_of(number, code, network, problem))
    return places


def _new(problem: Problem, sampler: Sampler, history: list[Trial], places: list[int], number: int) -> Iterator[Code]:
    """Proposals that were not tried yet, then any."""
    for attempt in range(ATTEMPTS):
        code = sampler.propose(problem.space, history, [], number, attempt)
        if problem.place[problem.space.decode(code)] not in places:
            yield code
    yield problem.space.sample(np.random.default_rng((number, len(places))))


def trial_of(number: int, code: Code, network: tuple[str, ...], problem: Problem) -> Trial:
    return Trial(
        number=number, kind="search", name=f"trial {number}", state="complete", genotype=network,
        hash="|".join(network), code=code, values=problem.values(network), finished=float(number),
    )  # fmt: skip


def with_optuna(make: MakeSampler, problem: Problem, trials: int, seed: int) -> list[int]:
    """A sampler of Optuna as its users call it; it may repeat itself."""
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=make(seed))
    places: list[int] = []
    begun = time.process_time()
    while len(places) < trials and time.process_time() - begun < PATIENCE_S:
        asked = study.ask()
        network = tuple(asked.suggest_categorical(d.name, d.choices) for d in problem.space.dimensions)
        places.append(problem.place[network])
        study.tell(asked, problem.losses[places[-1]].tolist())
    return places


def with_pymoo(problem: Problem, trials: int, seed: int) -> list[int]:
    """pymoo's NSGA-II on whole numbers, population 20."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    sizes = np.array([len(d.choices) for d in problem.space.dimensions])
    places: list[int] = []

    class Rows(ElementwiseProblem):
        def _evaluate(self, x: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
            network = tuple(d.choices[int(i)] for d, i in zip(problem.space.dimensions, x, strict=True))
            places.append(problem.place[network])
            out["F"] = problem.losses[places[-1]]

    algorithm = NSGA2(
        pop_size=20, sampling=IntegerRandomSampling(), eliminate_duplicates=True,
        crossover=SBX(vtype=float, repair=RoundingRepair()), mutation=PM(vtype=float, repair=RoundingRepair()),
    )  # fmt: skip
    rows = Rows(n_var=len(sizes), n_obj=2, xl=np.zeros(len(sizes)), xu=sizes - 1, vtype=int)
    minimize(rows, algorithm, ("n_eval", trials), seed=seed + 1, verbose=False)
    return places[:trials]


def with_syne_tune(problem: Problem, trials: int, seed: int) -> list[int]:
    """Syne Tune's regularized evolution for several objectives, population 20."""
    from syne_tune.config_space import choice
    from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution

    space = {d.name: choice(list(d.choices)) for d in problem.space.dimensions}
    searcher = MultiObjectiveRegularizedEvolution(space, population_size=20, sample_size=5, random_seed=seed)
    places: list[int] = []
    for number in range(trials):
        code = searcher.suggest()
        places.append(problem.place[problem.space.decode(code)])
        searcher.on_trial_complete(number, code, problem.losses[places[-1]].tolist())
    return places


def missing() -> list[str]:
    """Peers that are left out here, in words."""
    absent = [name for name in ("pymoo", "syne_tune") if find_spec(name) is None]
    return [f"{name} is not installed: left out" for name in absent]


OWN: dict[str, Search] = {
    "pareto": partial(ours, "pareto", True),
    "pareto, costs unknown": partial(ours, "pareto", False),
    "our tpe": partial(ours, "tpe", False),
    "our nsga2": partial(ours, "nsga2", False),
    "regularized_evolution": partial(ours, "regularized_evolution", False),
}
PEERS: dict[str, Search] = {
    "random": partial(with_optuna, lambda seed: optuna.samplers.RandomSampler(seed=seed)),
    "TPE, independent": partial(with_optuna, lambda seed: optuna.samplers.TPESampler(seed=seed)),
    "TPE, multivariate": partial(with_optuna, lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True)),
    "NSGA-II (20)": partial(with_optuna, lambda seed: optuna.samplers.NSGAIISampler(population_size=20, seed=seed)),
    "NSGA-II (50)": partial(with_optuna, lambda seed: optuna.samplers.NSGAIISampler(population_size=50, seed=seed)),
    "GP": partial(with_optuna, lambda seed: optuna.samplers.GPSampler(seed=seed)),
}
if find_spec("pymoo"):
    PEERS["pymoo NSGA-II (20)"] = with_pymoo
if find_spec("syne_tune"):
    PEERS["Syne Tune MO-REA (20)"] = with_syne_tune
