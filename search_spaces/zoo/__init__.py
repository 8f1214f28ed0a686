"""Networks of the literature as genotypes, a file for each kind, and small ones made after them."""

from search_spaces.zoo import branched, convolving, hybrids, plain, reduced, small, windowed  # noqa: F401
from search_spaces.zoo.entry import NOT_EXPRESSED, ZOO, Build, ZooEntry

__all__ = ["NOT_EXPRESSED", "ZOO", "Build", "ZooEntry"]
