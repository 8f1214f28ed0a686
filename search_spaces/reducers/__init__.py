"""Token reduction inside a stage. One file each."""

from search_spaces.reducers import evit, slimming, token_learner, tome  # noqa: F401
