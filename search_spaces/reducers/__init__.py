"""Token reduction inside a stage. One file each."""

from search_spaces.reducers import slimming, tome  # noqa: F401
