"""Down-sampling between stages: fixed token merging. One file each."""

from search_spaces.downsamplers import attention, convolution, deformable, mbconv, mbconv_pooled, merge  # noqa: F401
