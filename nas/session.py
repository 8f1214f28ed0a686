"""nas search: a campaign from its file to its front. Sets the parts up, runs the loop, closes the record."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from evaluators.data import Dataset
from evaluators.energy import default_watts, make_meter
from evaluators.free_memory import free_mb
from evaluators.latency.lease import DeviceLease
from evaluators.recipe import amp_type
from evaluators.zero_cost.batches import mini_batches
from nas.campaign import Campaign
from nas.environment import environment
from nas.errors import UserError
from nas.execution import make_executor
from nas.fidelity import RULES
from nas.finishing import finish
from nas.folder import write_folder
from nas.genotype import Genotype
from nas.journal import Journal
from nas.known_costs import Known, KnownCosts
from nas.loop import Loop, rule_of
from nas.mirror import OptunaMirror
from nas.network_scores import NetworkScores, networks_to_score
from nas.objective import MEASURED_COSTS
from nas.profiles import Profiles, make_missing_profiles, read_profiles
from nas.progress import SearchProgress
from nas.proposals import Proposer
from nas.resuming import check_campaign, check_folder, check_surroundings, space_facts
from nas.run import Run, load_run
from nas.samplers import make_sampler
from nas.samplers.base import Knowledge
from nas.settings import FidelitySettings, SamplerSettings
from nas.status_line import StatusLine
from nas.together import conditions_of
from nas.worker import dataset_of, lease_path, resolve_device
from search_spaces.space import Code, Space
from search_spaces.vit import make_space
from search_spaces.zoo import ZOO
from search_spaces.zoo.expressed import expressed


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A campaign with its data, its space and its proposer: all that is known before anything runs."""

    campaign: Campaign
    device: str
    dataset: Dataset
    space: Space
    profiles: Profiles
    proposer: Proposer

    @property
    def costs(self) -> KnownCosts:
        """What is known of a genotype on this campaign's pictures before it is trained."""
        return self.proposer.costs

    def facts(self) -> dict[str, Any]:
        """What a trial means depends on: kept with the record, since the campaign does not hold it."""
        return {
            "data": self.dataset.facts(), "space": space_facts(self.space), "profiles": self.profiles.facts(),
        }  # fmt: skip

    def references(self) -> list[tuple[str, Genotype, Known]]:
        """(name, genotype, costs) of the zoo networks that are trained beside the search."""
        built = [(name, ZOO[name].build(self.dataset.image_size)) for name in self.campaign.references]
        return [(name, genotype, self.costs.of(genotype)) for name, genotype in built]

    def measured_again(self) -> tuple[str, ...]:
        """The costs that are measured once more in the end: those of this device."""
        return tuple(n for n in self.campaign.metrics if n in MEASURED_COSTS and self.profiles.at_hand(n))

    def notes(self) -> Iterator[str]:
        """What a user should know before the search begins."""
        yield from self.dataset.notes
        for name in self.campaign.sources.keys() - set(self.campaign.metrics):
            yield f"sources.{name} has no effect: {name} is neither an objective nor limited"
        takes = self.proposer.sampler.takes
        yield from _idle(self.campaign.sampler, "sampler", takes)
        yield from _idle(self.campaign.fidelity, "fidelity", RULES[self.campaign.fidelity.name].takes)
        if self.campaign.sampler.scores and "scores" in takes and self.proposer.scores is None:
            yield "sampler.scores has no effect: a training is too short to be worth scores of candidates"
        if self.campaign.fidelity.name != "none" and not rule_of(self.campaign).rung_epochs():
            yield f"fidelity has no effect: training.epochs {self.campaign.training.epochs} leaves no room for a rung"


def _idle(section: SamplerSettings | FidelitySettings, key: str, takes: frozenset[str]) -> Iterator[str]:
    """What was set and is not looked at by whom the section names."""
    for name, field in type(section).model_fields.items():
        if name not in takes | {"name"} and getattr(section, name) != field.default:
            yield f"{key}.{name} has no effect: {section.name} does not use it"


def prepare(campaign: Campaign, folder: Path | None = None, line: StatusLine | None = None) -> Setup:
    """Load the data, make the space, check that something is feasible. Raises UserError before any work is done.

    folder: of the run, where a profile may lie. line: of a search that begins, which makes the profiles that are to be
    made here and says so; without it only those are read that are there already.
    """
    device = resolve_device(campaign.execution.device)
    _check_device(device, campaign)
    dataset = dataset_of(campaign)
    space = make_space(
        campaign.space.name, image_size=dataset.image_size, in_chans=dataset.in_chans, classes=dataset.classes,
        fix=campaign.space.fix, narrow=campaign.space.narrow,
    )  # fmt: skip
    sampler = make_sampler(
        campaign.sampler.name, campaign.objective_list, campaign.seed,
        startup=campaign.sampler.startup, population=campaign.sampler.population,
    )  # fmt: skip
    here = conditions_of(campaign, dataset, device)
    if folder is not None and line is not None:
        make_missing_profiles(campaign, dataset, here, folder, device, line)
    profiles = read_profiles(campaign, here, folder)
    profiles.refuse_others(campaign, dataset)
    known = _known_costs(campaign, dataset, device, profiles)
    few = networks_to_score(campaign.sampler.scores, campaign.training.epochs * len(dataset.train_x))
    scores = _scores(campaign, dataset, device) if "scores" in sampler.takes and few > 1 else None
    sampler.knowledge = Knowledge(
        costs=known, intervals=lambda genotype: known.of(genotype).intervals, expect=known.many,
        constraints=campaign.constraint_list, pictures=len(dataset.val_y),
        published=partial(_published, campaign, space),
    )  # fmt: skip
    if scores is not None:
        sampler.knowledge = replace(sampler.knowledge, scores=scores.of, believed=scores.passed, shortlist=few)
    free = _free_mb(campaign, device)
    proposer = Proposer(
        space, sampler, campaign.constraint_list, known, campaign.seed, free_mb=free, scores=scores
    )  # fmt: skip
    proposer.assert_feasible()
    return Setup(
        campaign=campaign, device=device, dataset=dataset, space=space, profiles=profiles, proposer=proposer
    )  # fmt: skip


def _scores(campaign: Campaign, data: Dataset, device: str) -> NetworkScores | None:
    """Those that the campaign asks for. On a processor that is measured as well, one of the two waits."""
    if not campaign.sampler.scores:
        return None
    apart = device == "cpu" and bool(campaign.measured())
    return NetworkScores(
        campaign.sampler.scores, mini_batches(data, seed=campaign.seed), data.classes, campaign.seed,
        lease=DeviceLease(lease_path(device)).shared if apart else nullcontext,
    )  # fmt: skip


def _published(campaign: Campaign, space: Space) -> tuple[Code, ...]:
    """Codes of networks of the zoo that are not trained as references anyway, each once."""
    trained = {space.canonical(ZOO[name].build(space.image_size)) for name in campaign.references}
    codes = {space.decode(code): code for code in expressed(space).values()}
    return tuple(code for genotype, code in codes.items() if genotype not in trained)


def _known_costs(campaign: Campaign, data: Dataset, device: str, profiles: Profiles) -> KnownCosts:
    return KnownCosts(
        {"image_size": data.image_size, "in_chans": data.in_chans, "classes": data.classes}, profiles.by_metric,
        trained_on=profiles.training_device(), batch=min(campaign.training.batch_size, len(data.train_x)),
        images=campaign.latency.batch, mixed=campaign.training.amp and amp_type(torch.device(device)) is not None,
    )  # fmt: skip


def _free_mb(campaign: Campaign, device: str) -> float | None:
    """Memory for one trial: a worker's share of the system's, or a trial's share of the GPU. None on a cluster."""
    settings = campaign.execution
    free = free_mb(device) if settings.address is None else None
    share = settings.gpus if device.startswith("cuda") and settings.gpus else 1 / settings.workers
    return None if free is None else free * share


def checked(
    campaign: Campaign, *, runs: Path | str = "runs", resume: bool = False, line: StatusLine | None = None
) -> Setup:
    """All that a search looks at before it begins, the folder included. Raises UserError. line: as for `prepare`."""
    folder = Path(runs) / campaign.name
    check_folder(folder, resume)
    if not resume:
        return prepare(campaign, folder, line)
    before = load_run(folder)
    check_campaign(before, campaign)
    setup = prepare(campaign, folder, line)
    check_surroundings(before, setup.facts(), campaign.data.source)
    return setup


def search(
    campaign: Campaign, *, runs: Path | str = "runs", resume: bool = False, quiet: bool = False, **options: Any
) -> Run:
    """Run a campaign into RUNS/NAME and return it; `resume` goes on with one that was stopped or killed.

    Raises UserError for what a user can mend and DiskFullError when the record or weights cannot be written.
    Ctrl-C ends it cleanly: the run that is returned has status "interrupted".
    """
    folder = Path(runs) / campaign.name
    with Journal(folder / "journal.jsonl") as journal, SearchProgress(quiet) as progress:
        # the journal comes first: no second search begins while this one still makes its profile
        setup = checked(campaign, runs=runs, resume=resume, line=None if resume else StatusLine(quiet))
        _open_session(journal, setup, progress)
        loop = Loop(campaign, folder, journal, setup.proposer, setup.references(), setup.device)
        mirror = OptunaMirror(campaign, setup.space, folder, list(loop.history.trials.values()))
        loop.listeners = (progress, mirror)
        progress.attach(loop)
        status = _run(loop, setup.measured_again(), progress, options)
        journal.append("closed", status=status)
    run = load_run(folder)
    write_folder(run)
    return run


def _run(loop: Loop, again: tuple[str, ...], progress: SearchProgress, options: dict[str, Any]) -> str:
    """ "finished" or "interrupted"."""
    if loop.history.trials and loop.out_of_budget():
        budget = loop.campaign.budget
        progress.say(
            f"nothing new begins: the budget of {budget.trials} trials and {budget.minutes:g} minutes is used up; "
            f"more with --set budget.trials={2 * budget.trials} --set budget.minutes={2 * budget.minutes:g}"
        )
    try:
        with make_executor(loop.campaign, loop.folder, **options) as executor:
            executor.run(loop)
            if loop.exhausted:
                loop.record("note", text=loop.exhausted)
                progress.say(loop.exhausted)
            if checked := loop.open_check():
                progress.say(f"finishing {checked} of the trials that were cut short, to check the forecast")
                executor.run(loop)
            finish(loop, executor, again, progress)
    except KeyboardInterrupt:
        progress.say(f"stopped; everything found is in {loop.folder}")
        return "interrupted"
    return "finished"


def _open_session(journal: Journal, setup: Setup, progress: SearchProgress) -> None:
    surroundings = environment(setup.device) | setup.facts() | {"power": _power_facts(setup)}
    journal.append("session", campaign=setup.campaign.model_dump(mode="json"), environment=surroundings)
    for note in (journal.repaired, *setup.notes()):
        if note:
            progress.say(note)
            journal.append("note", text=note)


def _power_facts(setup: Setup) -> dict[str, Any]:
    """How energy is known here. watts: of one trial at work, for what nothing counts."""
    settings = setup.campaign
    meter = make_meter(setup.device, threads=settings.latency.threads, watts=settings.latency.watts)
    watts = settings.latency.watts or default_watts(setup.device, max(1, round(settings.execution.cpus)))
    return {"label": meter.label, "method": meter.method, "watts": watts}


def _check_device(device: str, campaign: Campaign) -> None:
    """A GPU that is asked for, by name or as a share per trial, must be there."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    settings = campaign.execution
    if settings.gpus > 0 and settings.address is None and count == 0:
        raise UserError(f"execution.gpus: {settings.gpus:g} GPUs a trial asked for, but no CUDA device found; use 0")
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        if index >= count:
            raise UserError(f"execution.device: {device} asked for, but {count} CUDA devices found; use cpu or auto")
