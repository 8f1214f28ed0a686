"""How the branches of a dual network exchange what they saw. One file each."""

from search_spaces.fusions import class_attention  # noqa: F401
