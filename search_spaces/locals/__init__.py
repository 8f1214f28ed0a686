"""Convolutions beside the mixer. One file each."""

from search_spaces.locals import interaction, neighbour_window, perception  # noqa: F401
