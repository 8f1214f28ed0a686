"""What can be measured of an architecture: the names that `nas list evaluators` shows."""

from dataclasses import dataclass

from nas.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """metrics: names of nas.objective.METRICS that it fills. doc: one line."""

    metrics: tuple[str, ...]
    doc: str


EVALUATORS: Registry[Evaluator] = Registry("evaluator")

EVALUATORS.register("cost")(
    Evaluator(metrics=("params_m", "macs_g", "memory_mb"), doc="exact, from the genotype alone, before anything is built")
)
EVALUATORS.register("latency")(
    Evaluator(metrics=("latency_ms",), doc="measured on this machine: interleaved rounds, 5th percentile, 90 % interval")
)
EVALUATORS.register("proxy_training")(
    Evaluator(metrics=("accuracy",), doc="a short training on the campaign's data, scored on its validation split")
)
