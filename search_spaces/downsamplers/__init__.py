"""Down-sampling between stages: fixed token merging. One file each."""

from search_spaces.downsamplers import convolution, merge  # noqa: F401
