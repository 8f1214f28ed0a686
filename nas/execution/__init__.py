"""Executors: in this process, or Ray Tune. Imported when a campaign names them, since Ray takes seconds to import."""

from pathlib import Path
from typing import Any

from nas.campaign import Campaign
from nas.execution import inline  # noqa: F401  registers itself
from nas.execution.base import EXECUTORS, Executor


def make_executor(campaign: Campaign, folder: Path, **options: Any) -> Executor:
    if campaign.execution.backend == "ray":
        import nas.execution.tune  # noqa: F401  registers itself
    executor: Executor = EXECUTORS[campaign.execution.backend](campaign, folder, **options)
    return executor
