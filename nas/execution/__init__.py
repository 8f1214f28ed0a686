"""Executors: in this process, or Ray Tune. Imported when a campaign names them, since Ray takes seconds to import."""

from pathlib import Path
from typing import Any

from nas.campaign import Campaign
from nas.execution.base import Executor
from nas.execution.inline import InlineExecutor


def make_executor(campaign: Campaign, folder: Path, **options: Any) -> Executor:
    if campaign.execution.backend == "inline":
        return InlineExecutor(campaign, folder, **options)
    from nas.execution.tune import TuneExecutor

    return TuneExecutor(campaign, folder, **options)
