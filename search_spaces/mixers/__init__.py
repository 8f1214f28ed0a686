"""Token mixers. One file each; importing it here is all that registering takes."""

from search_spaces.mixers import (
    channel_groups,  # noqa: F401
    cross_covariance,  # noqa: F401
    efficient,  # noqa: F401
    fibottention,  # noqa: F401
    focal,  # noqa: F401
    grid,  # noqa: F401
    mbconv,  # noqa: F401
    none,  # noqa: F401
    pooling,  # noqa: F401
    shifted_window,  # noqa: F401
    shunted,  # noqa: F401
    softmax,  # noqa: F401
    spatial_reduction,  # noqa: F401
    token_statistics,  # noqa: F401
    window,  # noqa: F401
)
from search_spaces.mixers.base import MIXERS, Attention, Core, Mixer, build_mixer, mixer_cost

__all__ = ["MIXERS", "Attention", "Core", "Mixer", "build_mixer", "mixer_cost"]
