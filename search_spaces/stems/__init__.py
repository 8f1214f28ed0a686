"""Stems: images to the first tokens. One file each."""

from search_spaces.stems import convstack, overlap, patch  # noqa: F401
