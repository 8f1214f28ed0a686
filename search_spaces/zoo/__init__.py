"""Networks of the literature as genotypes. Two files for published ones, one for small ones made after them."""

from search_spaces.zoo import hybrids, published, small  # noqa: F401
from search_spaces.zoo.entry import ZOO, Build, ZooEntry

__all__ = ["ZOO", "Build", "ZooEntry"]
