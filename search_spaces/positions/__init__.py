"""Positions: how tokens are told apart. One file each; biases inside a window belong to the window mixers."""

from search_spaces.positions import conditional, fourier, learned  # noqa: F401
