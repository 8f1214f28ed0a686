"""Zero-cost scores: what an untrained network says of its accuracy. Each file registers the score of its name."""

from evaluators.zero_cost import (  # noqa: F401
    depth,
    dss,
    fisher,
    grad_norm,
    grasp,
    jacov,
    log_synflow,
    macs,
    naswot,
    params,
    snip,
    synflow,
    zen,
    zico,
)
