"""Token mixers. One file each; importing it here is all that registering takes."""

from search_spaces.mixers import (
    softmax,  # noqa: F401
)
from search_spaces.mixers.base import MIXERS, Attention, Core, Mixer, build_mixer, mixer_cost

__all__ = ["MIXERS", "Attention", "Core", "Mixer", "build_mixer", "mixer_cost"]
