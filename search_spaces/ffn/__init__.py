"""Feed-forward networks of a block. One file each."""

from search_spaces.ffn import mix, mlp, none  # noqa: F401
