"""Classification heads. One file each."""

from search_spaces.heads import class_attention, class_token, expanded, pool  # noqa: F401
