"""Stems: images to the first tokens. One file each."""

from search_spaces.stems import (  # noqa: F401
    cmt,
    convolutions,
    convstack,
    overlap,
    patch,
    shuffle,
    three_convolutions,
    tokens_to_token,
)
