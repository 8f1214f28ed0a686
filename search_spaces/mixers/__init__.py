"""Token mixers. One file each; importing it here is all that registering takes."""

from search_spaces.mixers import (
    afno,  # noqa: F401
    agent,  # noqa: F401
    bilevel,  # noqa: F401
    bixt,  # noqa: F401
    carrier,  # noqa: F401
    channel_groups,  # noqa: F401
    convolutional_projection,  # noqa: F401
    cross_covariance,  # noqa: F401
    cross_shaped_window,  # noqa: F401
    deformable,  # noqa: F401
    deformable_large_kernel,  # noqa: F401
    diffuser,  # noqa: F401
    distance_bias,  # noqa: F401
    efficient,  # noqa: F401
    fcvit,  # noqa: F401
    fibottention,  # noqa: F401
    focal,  # noqa: F401
    global_filter,  # noqa: F401
    grid,  # noqa: F401
    hilo,  # noqa: F401
    key_dictionary,  # noqa: F401
    large_kernel,  # noqa: F401
    latent,  # noqa: F401
    less_attention,  # noqa: F401
    light,  # noqa: F401
    linear,  # noqa: F401
    lisa_like,  # noqa: F401
    mbconv,  # noqa: F401
    messenger,  # noqa: F401
    neighborhood,  # noqa: F401
    none,  # noqa: F401
    pooling,  # noqa: F401
    separable,  # noqa: F401
    shifted_window,  # noqa: F401
    shunted,  # noqa: F401
    skip_attention,  # noqa: F401
    softmax,  # noqa: F401
    spatial_reduction,  # noqa: F401
    token_statistics,  # noqa: F401
    window,  # noqa: F401
)
from search_spaces.mixers.base import MIXERS, Attention, Core, Memory, Mixer, build_mixer, mixer_cost, normed, remembers

__all__ = ["MIXERS", "Attention", "Core", "Memory", "Mixer", "build_mixer", "mixer_cost", "normed", "remembers"]
