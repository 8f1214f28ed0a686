"""vitnas: neural architecture search for efficient vision transformers.

The same words as on the command line: search, report, export, train, show, heads, analyze, sample, list; and
load_campaign, load_run.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.campaign import Campaign, load_campaign
    from nas.description import describe as show
    from nas.description import sample_architectures as sample
    from nas.errors import UserError
    from nas.exporting import export_run as export
    from nas.folder import rebuild as report
    from nas.genotype import Atom, Genotype, Stage
    from nas.head_report import report_heads as heads
    from nas.retraining import train_config as train
    from nas.run import Run, load_run
    from nas.score_report import report_scores as analyze
    from nas.session import search

_WHERE = {
    "Campaign": ("nas.campaign", "Campaign"),
    "load_campaign": ("nas.campaign", "load_campaign"),
    "UserError": ("nas.errors", "UserError"),
    "analyze": ("nas.score_report", "report_scores"),
    "export": ("nas.exporting", "export_run"),
    "report": ("nas.folder", "rebuild"),
    "Atom": ("nas.genotype", "Atom"),
    "Genotype": ("nas.genotype", "Genotype"),
    "Stage": ("nas.genotype", "Stage"),
    "Run": ("nas.run", "Run"),
    "heads": ("nas.head_report", "report_heads"),
    "list": ("nas.listing", "list_choices"),
    "load_run": ("nas.run", "load_run"),
    "search": ("nas.session", "search"),
    "show": ("nas.description", "describe"),
    "sample": ("nas.description", "sample_architectures"),
    "train": ("nas.retraining", "train_config"),
}
__all__ = [
    "Atom", "Campaign", "Genotype", "Run", "Stage", "UserError",
    "analyze", "export", "heads", "load_campaign", "load_run", "report", "sample", "search", "show", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import nas.genotype` costs nothing else."""
    if name not in _WHERE:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(import_module(module), attribute)
