"""Feed-forward networks of a block. One file each."""

from search_spaces.ffn import batch_norm_mlp, inverted_residual, mix, mixture, mlp, none  # noqa: F401
