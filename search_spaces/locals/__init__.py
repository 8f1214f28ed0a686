"""Convolutions beside the mixer. One file each."""

from search_spaces.locals import interaction, perception  # noqa: F401
