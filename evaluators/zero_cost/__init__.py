"""Zero-cost scores: what an untrained network says of its accuracy. Each file registers the score of its name."""

from evaluators.zero_cost import (  # noqa: F401
    params,
    macs,
    depth,
    naswot,
    grad_norm,
    snip,
    fisher,
    zico,
    grasp,
    jacov,
    synflow,
    log_synflow,
    dss,
    zen,
)
