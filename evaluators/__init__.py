"""What is measured: exact costs, latency on a device, accuracy after a short training, scores without any, differences
between heads; and the data it takes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluators.cost import cost_metrics, count
    from evaluators.data import load_dataset
    from evaluators.head_diversity import measure_heads
    from evaluators.latency.isolated import measure_isolated
    from evaluators.latency.measure import LatencySettings, measure_latency
    from evaluators.proxy_training import ProxyTraining, Recipe, evaluate_accuracy
    from evaluators.registry import EVALUATORS
    from evaluators.zero_cost.compute import compute_scores
    from evaluators.zero_cost.many import score_genotypes

_WHERE = {
    "cost_metrics": "evaluators.cost",
    "count": "evaluators.cost",
    "load_dataset": "evaluators.data",
    "measure_heads": "evaluators.head_diversity",
    "LatencySettings": "evaluators.latency.measure",
    "measure_isolated": "evaluators.latency.isolated",
    "measure_latency": "evaluators.latency.measure",
    "ProxyTraining": "evaluators.proxy_training",
    "Recipe": "evaluators.proxy_training",
    "evaluate_accuracy": "evaluators.proxy_training",
    "EVALUATORS": "evaluators.registry",
    "compute_scores": "evaluators.zero_cost.compute",
    "score_genotypes": "evaluators.zero_cost.many",
}
__all__ = [
    "EVALUATORS", "LatencySettings", "ProxyTraining", "Recipe",
    "compute_scores", "cost_metrics", "count", "evaluate_accuracy", "load_dataset", "measure_heads", "measure_isolated",
    "measure_latency", "score_genotypes",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name not in _WHERE:
        raise AttributeError(f"module 'evaluators' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
