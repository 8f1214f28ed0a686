"""What can be built: spaces, mechanisms, published networks, and networks from their descriptions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.genotype import Atom, Genotype, Stage
    from search_spaces.files import build, load
    from search_spaces.mixers import MIXERS
    from search_spaces.vit import SPACES, make_space
    from search_spaces.zoo import ZOO
    from search_spaces.zoo.checkpoints import load_checkpoint

_WHERE = {
    "Atom": "nas.genotype",
    "Genotype": "nas.genotype",
    "Stage": "nas.genotype",
    "build": "search_spaces.files",
    "load": "search_spaces.files",
    "MIXERS": "search_spaces.mixers",
    "SPACES": "search_spaces.vit",
    "load_checkpoint": "search_spaces.zoo.checkpoints",
    "make_space": "search_spaces.vit",
    "ZOO": "search_spaces.zoo",
}
__all__ = ["MIXERS", "SPACES", "ZOO", "Atom", "Genotype", "Stage", "build", "load", "load_checkpoint", "make_space"]


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name not in _WHERE:
        raise AttributeError(f"module 'search_spaces' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
