"""Token reduction inside a stage. One file each."""

from search_spaces.reducers import dynamic, evit, evo, slimming, token_fuser, token_learner, tome  # noqa: F401
