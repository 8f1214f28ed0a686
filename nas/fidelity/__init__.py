"""Which trials are trained to the end: rules over partly trained networks, and the risk that they run."""

from nas.fidelity import extrapolation, halving, none  # noqa: F401  (they register themselves)
from nas.fidelity.base import RULES, Rule, make_rule

__all__ = ["RULES", "Rule", "make_rule"]
