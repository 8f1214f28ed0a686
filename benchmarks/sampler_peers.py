"""What is compared in benchmarks/samplers.py: every sampler as a function from a problem to the rows it tried."""

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import numpy as np
import optuna
from sampler_problem import Problem

from nas.samplers import make_sampler
from nas.samplers.base import Knowledge, Sampler
from nas.trial import Trial
from search_spaces.space import Choice, Code, Space

Search = Callable[[Problem, int, int], list[int]]  # (problem, trials, seed) -> rows of the table in their order
MakeSampler = Callable[[int], optuna.samplers.BaseSampler]
Suggest = Callable[[optuna.Trial, Space], Code]
ATTEMPTS = 30  # as in a campaign, where an architecture is trained once
PATIENCE_S = 120.0  # for one search of a sampler that gets slower with every trial

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def ours(name: str, know: Callable[[Problem], Knowledge], problem: Problem, trials: int, seed: int) -> list[int]:
    """One of our samplers as a campaign asks it, among the rows."""
    return _asked(name, know(problem), problem.space, problem, trials, seed)


def ours_anywhere(
    name: str, know: Callable[[Problem], Knowledge], problem: Problem, trials: int, seed: int
) -> list[int]:
    """The same in the whole space, as the peers: a row stands for what is proposed."""
    return _asked(name, know(problem), problem.whole, problem, trials, seed)


def costs_known(problem: Problem) -> Knowledge:
    """The costs of any candidate and how sure an accuracy is, as in a campaign."""
    return Knowledge(costs=problem.costs, pictures=problem.pictures)


def nothing_known(problem: Problem) -> Knowledge:
    return Knowledge()


def _asked(name: str, knowledge: Knowledge, space: Space, problem: Problem, trials: int, seed: int) -> list[int]:
    sampler = make_sampler(name, problem.objectives, seed)
    sampler.knowledge = knowledge
    history: list[Trial] = []
    places: list[int] = []
    for number in range(trials):
        places.append(next(_new(problem, space, sampler, history, places, number)))
        history.append(trial_of(problem, places[-1], number))
    return places


def _new(
    problem: Problem, space: Space, sampler: Sampler, history: list[Trial], places: list[int], number: int
) -> Iterator[int]:
    """Rows that were not tried yet, then any."""
    for attempt in range(ATTEMPTS):
        place = problem.settle(sampler.propose(space, history, [], number, attempt), places)
        if place not in places:
            yield place
    yield problem.settle(space.sample(np.random.default_rng((number, len(places)))), places)


def trial_of(problem: Problem, place: int, number: int) -> Trial:
    """A row as a search would have recorded it."""
    return Trial(
        number=number, kind="search", name=f"trial {number}", state="complete", genotype=problem.network(place),
        hash=str(place), code=problem.code(place), values=problem.values(place), finished=float(number),
    )  # fmt: skip


def with_optuna(make: MakeSampler, problem: Problem, trials: int, seed: int) -> list[int]:
    """A sampler of Optuna as its users call it, every dimension one of its parameters; it may repeat itself."""
    return _optuna(make, _flat, problem, trials, seed)


def with_optuna_branches(make: MakeSampler, problem: Problem, trials: int, seed: int) -> list[int]:
    """The same where a network is asked for step by step, so that only dimensions that matter are parameters."""
    return _optuna(make, _by_branches, problem, trials, seed)


def _optuna(make: MakeSampler, suggest: Suggest, problem: Problem, trials: int, seed: int) -> list[int]:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=make(seed))
    places: list[int] = []
    begun = time.process_time()
    while len(places) < trials and time.process_time() - begun < PATIENCE_S:
        asked = study.ask()
        code = suggest(asked, problem.whole)
        places.append(problem.settle(code, places))
        row = problem.code(places[-1])
        if any(row[name] != choice for name, choice in code.items()):
            asked = _instead(study, asked, row, suggest, problem.whole)
        study.tell(asked, problem.losses[places[-1]].tolist())
    return places


def _flat(asked: optuna.Trial, space: Space) -> Code:
    return {d.name: asked.suggest_categorical(d.name, d.choices) for d in space.dimensions}


def _by_branches(asked: optuna.Trial, space: Space) -> Code:
    """Of what is never asked for any choice will do."""
    code = {d.name: d.choices[0] for d in space.dimensions}

    def read(name: str) -> Choice:
        code[name] = asked.suggest_categorical(name, space.by_name[name].choices)
        return code[name]

    space.assemble(read)
    return code


def _instead(study: optuna.Study, asked: optuna.Trial, row: Code, suggest: Suggest, space: Space) -> optuna.Trial:
    """A trial of the row that stands for what was asked: the sampler is told of what was tried in fact."""
    study.tell(asked, state=optuna.trial.TrialState.FAIL)
    study.enqueue_trial(row)
    moved = study.ask()
    suggest(moved, space)
    return moved


def with_pymoo(problem: Problem, trials: int, seed: int) -> list[int]:
    """pymoo's NSGA-II on whole numbers, population 20, which is not told which rows stood for its proposals."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    sizes = np.array([len(d.choices) for d in problem.whole.dimensions])
    places: list[int] = []

    class Rows(ElementwiseProblem):
        def _evaluate(self, x: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
            code = {d.name: d.choices[int(i)] for d, i in zip(problem.whole.dimensions, x, strict=True)}
            places.append(problem.settle(code, places))
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

    space = {d.name: choice(list(d.choices)) for d in problem.whole.dimensions}
    searcher = MultiObjectiveRegularizedEvolution(space, population_size=20, sample_size=5, random_seed=seed)
    places: list[int] = []
    for number in range(trials):
        code = searcher.suggest()
        places.append(problem.settle(code, places))
        searcher.on_trial_complete(number, problem.code(places[-1]), problem.losses[places[-1]].tolist())
    return places


def missing() -> list[str]:
    """Peers that are left out here, in words."""
    absent = [name for name in ("pymoo", "syne_tune") if find_spec(name) is None]
    return [f"{name} is not installed: left out" for name in absent]


OWN: dict[str, Search] = {
    "pareto": partial(ours, "pareto", costs_known),
    "pareto, costs unknown": partial(ours, "pareto", nothing_known),
    "our tpe": partial(ours, "tpe", nothing_known),
    "our nsga2": partial(ours, "nsga2", nothing_known),
    "regularized_evolution": partial(ours, "regularized_evolution", nothing_known),
}
PEERS: dict[str, Search] = {
    "random": partial(with_optuna, lambda seed: optuna.samplers.RandomSampler(seed=seed)),
    "TPE, independent": partial(with_optuna, lambda seed: optuna.samplers.TPESampler(seed=seed)),
    "TPE, multivariate": partial(with_optuna, lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True)),
    "NSGA-II (20)": partial(with_optuna, lambda seed: optuna.samplers.NSGAIISampler(population_size=20, seed=seed)),
    "NSGA-II (50)": partial(with_optuna, lambda seed: optuna.samplers.NSGAIISampler(population_size=50, seed=seed)),
    "GP": partial(with_optuna, lambda seed: optuna.samplers.GPSampler(seed=seed)),
}
IN_PARTS: dict[str, Search] = {  # where the rows are a part of a larger space
    "pareto, anywhere": partial(ours_anywhere, "pareto", costs_known),
    "TPE, multivariate, branches": partial(
        with_optuna_branches, lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)
    ),
}
if find_spec("pymoo"):
    PEERS["pymoo NSGA-II (20)"] = with_pymoo
if find_spec("syne_tune"):
    PEERS["Syne Tune MO-REA (20)"] = with_syne_tune
