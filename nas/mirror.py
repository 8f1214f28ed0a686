"""A copy of the record as an Optuna journal, so that optuna-dashboard can open a campaign while it runs.

Our journal is the truth; this file is written beside it, rebuilt on resume, and never read back.
"""

import logging
import warnings
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from nas.campaign import Campaign
from nas.trial import Trial
from search_spaces.space import Space

_STATES = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL, "infeasible": TrialState.FAIL}


class OptunaMirror:
    """A listener of the loop: adds each finished search trial to RUN/optuna.log."""

    def __init__(self, campaign: Campaign, space: Space, folder: Path, trials: list[Trial]) -> None:
        optuna.logging.set_verbosity(logging.ERROR)
        self.objectives = campaign.objective_list
        self.distributions: dict[str, BaseDistribution] = {
            d.name: CategoricalDistribution(d.choices) for d in space.dimensions
        }
        path = folder / "optuna.log"
        path.unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
            self.study = optuna.create_study(
                storage=storage,
                study_name=campaign.name,
                directions=[StudyDirection[o.direction.upper()] for o in self.objectives],
            )
            self.study.set_metric_names([o.metric.label for o in self.objectives])
        for trial in trials:
            self("finished", trial)

    def __call__(self, what: str, trial: Trial) -> None:
        if what != "finished" or trial.kind != "search" or trial.state not in _STATES:
            return
        complete = trial.state == "complete"
        self.study.add_trial(
            create_trial(
                state=_STATES[trial.state],
                values=[trial.values[o.name] for o in self.objectives] if complete else None,
                params=dict(trial.code),
                distributions=self.distributions,
                user_attrs={
                    "trial": trial.number,
                    "hash": trial.hash,
                    "architecture": str(trial.genotype),
                    **trial.values,
                },
            )
        )
