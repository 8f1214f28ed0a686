"""nas search: a campaign from its file to its front. Sets the parts up, runs the loop, closes the record."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluators.cost import cost_metrics
from evaluators.data import Dataset
from nas.campaign import Campaign, refused_changes
from nas.environment import environment
from nas.errors import UserError
from nas.execution import make_executor
from nas.execution.base import Executor
from nas.folder import write_folder
from nas.genotype import Genotype
from nas.history import replay
from nas.journal import Journal
from nas.loop import Loop
from nas.mirror import OptunaMirror
from nas.progress import SearchProgress
from nas.proposals import Proposer
from nas.run import Run, load_run
from nas.samplers import make_sampler
from nas.samplers.base import Knowledge
from nas.trial import Trial
from nas.worker import accuracies_on_test, dataset_of, measure_together, resolve_device
from search_spaces.space import Space
from search_spaces.vit import make_space
from search_spaces.zoo import ZOO


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A campaign with its data, its space and its proposer: all that is known before anything runs."""

    campaign: Campaign
    device: str
    dataset: Dataset
    space: Space
    proposer: Proposer

    def costs(self, genotype: Genotype) -> dict[str, float]:
        """The exact metrics of a genotype on this campaign's pictures."""
        return self.proposer.costs(genotype)

    def references(self) -> list[tuple[str, Genotype, dict[str, float]]]:
        """(name, genotype, costs) of the zoo networks that are trained beside the search."""
        built = [(name, ZOO[name].build(self.dataset.image_size)) for name in self.campaign.references]
        return [(name, genotype, self.costs(genotype)) for name, genotype in built]


def prepare(campaign: Campaign) -> Setup:
    """Load the data, make the space, check that something is feasible. Raises UserError before any work is done."""
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

    def costs(genotype: Genotype) -> dict[str, float]:
        return cost_metrics(genotype, image_size=dataset.image_size, in_chans=dataset.in_chans, classes=dataset.classes)

    sampler.knowledge = Knowledge(costs=costs, constraints=tuple(campaign.constraint_list))
    proposer = Proposer(space, sampler, campaign.constraint_list, costs, campaign.seed)
    proposer.assert_feasible()
    return Setup(campaign=campaign, device=device, dataset=dataset, space=space, proposer=proposer)


def search(
    campaign: Campaign, *, runs: Path | str = "runs", resume: bool = False, quiet: bool = False, **options: Any
) -> Run:
    """Run a campaign into RUNS/NAME and return it; `resume` goes on with one that was stopped or killed.

    Raises UserError for what a user can mend and DiskFullError when the record cannot be written.
    Ctrl-C ends it cleanly: the run that is returned has status "interrupted".
    """
    folder = Path(runs) / campaign.name
    _check_folder(folder, resume)
    if resume:
        _check_same(folder, campaign)
    setup = prepare(campaign)
    if resume:
        _check_unchanged(folder, setup)
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder / "journal.jsonl") as journal, SearchProgress(quiet) as progress:
        _open_session(journal, setup, progress)
        loop = Loop(
            campaign, folder, journal, setup.proposer, setup.references(), setup.device,
            (progress, OptunaMirror(campaign, setup.space, folder, list(replay(journal.events).trials.values()))),
        )  # fmt: skip
        progress.attach(loop)
        status = _run(loop, progress, options)
        journal.append("closed", status=status)
    run = load_run(folder)
    write_folder(run)
    return run


def _run(loop: Loop, progress: SearchProgress, options: dict[str, Any]) -> str:
    """ "finished" or "interrupted"."""
    try:
        with make_executor(loop.campaign, loop.folder, **options) as executor:
            executor.run(loop)
            if loop.exhausted:
                loop.record("note", text=loop.exhausted)
                progress.say(loop.exhausted)
            _finish(loop, executor, progress)
    except KeyboardInterrupt:
        progress.say(f"stopped; everything found is in {loop.folder}")
        return "interrupted"
    return "finished"


def _open_session(journal: Journal, setup: Setup, progress: SearchProgress) -> None:
    surroundings = environment(setup.device) | {"data": setup.dataset.facts(), "space": space_facts(setup.space)}
    journal.append("session", campaign=setup.campaign.model_dump(mode="json"), environment=surroundings)
    for note in (journal.repaired, *setup.dataset.notes):
        if note:
            progress.say(note)
            journal.append("note", text=note)


def _finish(loop: Loop, executor: Executor, progress: SearchProgress) -> None:
    """Measure contenders and references once more, together; then open the test split for the front alone."""
    if "latency_ms" in loop.campaign.objectives:
        _measure_again(loop, executor, progress)
    run = loop.run()
    members = {
        t.number: (t.genotype.to_json(), t.checkpoint)
        for t in run.front() + run.references()
        if t.checkpoint and (loop.folder / t.checkpoint).is_file()
    }
    for trial, accuracy in executor.call(accuracies_on_test, loop.campaign, loop.folder.resolve(), members).items():
        loop.record("tested", trial=trial, accuracy=accuracy)


def _measure_again(loop: Loop, executor: Executor, progress: SearchProgress) -> None:
    """Until every front member comes from one session, since a machine's speed drifts between sessions."""
    group: dict[int, Trial] = {}
    while any(t.number not in group for t in loop.run().front()):
        together = loop.contenders() + [t for t in loop.run().references() if t.state == "complete"]
        group |= {t.number: t for t in together}
        progress.say(f"measuring {len(group)} networks once more, together")
        found = executor.call(measure_together, loop.campaign, {str(n): t.genotype.to_json() for n, t in group.items()})
        for number, latency in found.items():
            loop.record("remeasured", trial=int(number), latency=latency)


def _check_folder(folder: Path, resume: bool) -> None:
    exists = (folder / "journal.jsonl").exists()
    if exists and not resume:
        raise UserError(f"{folder}: holds a campaign already; go on with --resume, or choose another --name")
    if resume and not exists:
        raise UserError(f"{folder}: nothing to resume; start it without --resume")


def _check_same(folder: Path, campaign: Campaign) -> None:
    refused = refused_changes(load_run(folder).campaign, campaign)
    if refused:
        raise UserError(f"{folder}: the campaign has changed since it began ({'; '.join(refused)}); use another --name")


def space_facts(space: Space) -> dict[str, str]:
    """What a record must say about its space: codes mean something only there."""
    return {"name": space.name, "version": space.version, "fingerprint": space.fingerprint}


def _check_unchanged(folder: Path, setup: Setup) -> None:
    """The campaign file may be the same and its data or its space another."""
    before = load_run(folder).environment
    if before.get("data", {}).get("fingerprint", setup.dataset.fingerprint) != setup.dataset.fingerprint:
        source = setup.campaign.data.source
        raise UserError(f"{folder}: the pictures or labels of {source} have changed since it began; use another --name")
    if before.get("space", {}).get("fingerprint", setup.space.fingerprint) != setup.space.fingerprint:
        raise UserError(
            f"{folder}: the choices of space {setup.space.name} have changed since it began "
            f"(then vitnas {before.get('versions', {}).get('vitnas')}); use another --name"
        )


def _check_device(device: str, campaign: Campaign) -> None:
    """A GPU that is asked for, by name or as a share per trial, must be there."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    settings = campaign.execution
    if settings.gpus > 0 and settings.address is None and count == 0:
        raise UserError(f"execution.gpus: {settings.gpus:g} GPUs a trial asked for, but no CUDA device found; use 0")
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        if index >= count:
            raise UserError(f"execution.device: {device} asked for, but {count} CUDA devices found; use cpu or auto")
