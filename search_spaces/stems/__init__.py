"""Stems: images to the first tokens. One file each."""

from search_spaces.stems import convolutions, convstack, overlap, patch, tokens_to_token  # noqa: F401
