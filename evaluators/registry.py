"""What can be measured of an architecture: the names that `nas list evaluators` shows."""

from dataclasses import dataclass

from nas.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """metrics: names of nas.objective.METRICS that it fills. about: one line."""

    metrics: tuple[str, ...]
    about: str


EVALUATORS: Registry[Evaluator] = Registry("evaluator")

EVALUATORS.register("cost")(
    Evaluator(metrics=("params_m", "macs_g", "memory_mb"), about="exact, from the genotype alone, before it is built")
)
EVALUATORS.register("latency")(
    Evaluator(metrics=("latency_ms",), about="measured here: interleaved rounds, 5th percentile, 90 % interval")
)
EVALUATORS.register("memory")(
    Evaluator(metrics=(), about="peak of a forward pass and of a training step at PyTorch's allocator (nas measure)")
)
EVALUATORS.register("energy")(
    Evaluator(metrics=("energy_mj",), about="mJ of a forward pass: RAPL or NVML counters, else time x power")
)
EVALUATORS.register("proxy_training")(
    Evaluator(metrics=("accuracy",), about="a short training on the campaign's data, scored on its validation split")
)
EVALUATORS.register("zero_cost")(
    Evaluator(metrics=(), about="scores of untrained networks, trusted where they say more than size (nas analyze)")
)
EVALUATORS.register("head_diversity")(
    Evaluator(metrics=(), about="how much the heads of each layer differ: an analysis (nas heads), not an objective")
)
