"""The contract of zero-cost scores: functions of a probe, registered by name, higher where a network promises more."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from evaluators.cost import cost_metrics
from nas.genotype import Genotype
from nas.registry import Registry
from search_spaces.model import build

if TYPE_CHECKING:
    from evaluators.zero_cost.probe import Probe

Batch = tuple[Tensor, Tensor]  # normalised images (B, C, H, W), labels (B,)
Score = Callable[["Probe"], float]

SCORES: Registry[Score] = Registry("score")
SIZES = ("params", "macs", "depth")  # free: what any other score has to add something to


class ScoreFailed(ValueError):
    """Why a score says nothing of a network; its message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network to be scored. make: seed -> the network with its initial weights; the rest is known without it."""

    make: Callable[[int], nn.Module]
    params_m: float
    macs_g: float
    depth: int  # blocks


def subject_of(genotype: Genotype, *, image_size: int, in_chans: int = 3, classes: int = 1000) -> Subject:
    """A genotype as a subject; nothing is built before a score asks for the network."""
    shape = {"image_size": image_size, "in_chans": in_chans, "classes": classes}
    costs = cost_metrics(genotype, **shape)
    return Subject(
        make=lambda seed: build(genotype, seed=seed, **shape),
        params_m=costs["params_m"],
        macs_g=costs["macs_g"],
        depth=sum(stage.depth for stage in genotype.stages),
    )
