"""The contracts of what joins whole stages or branches: bridges over the stages of a pyramid, fusion of two branches.

Like the parts around the mixers, each is a Layer with a closed-form `cost` of the same numbers as its constructor.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from nas.registry import Registry
from search_spaces.costs import Cost
from search_spaces.layer import Layer
from search_spaces.parts import Grid
from search_spaces.taxonomy import About


class Bridge(Layer):
    """Tokens (B, N_i, C_i) of every stage of a pyramid -> those of the last stage, having read all of them.

    Built as cls(dims=, grids=, **params), both by stage.
    """

    about: ClassVar[About]
    search: ClassVar[dict[str, tuple[Any, ...]]] = {}

    @classmethod
    def check(cls, *, dims: Sequence[int], grids: Sequence[Grid], **params: Any) -> str | None:
        """Why these parameters cannot work on these stages, or None."""
        return None

    @classmethod
    def cost(cls, *, dims: Sequence[int], grids: Sequence[Grid], **params: Any) -> Cost:
        raise NotImplementedError


class Fusion(Layer):
    """Tokens (B, 1 + N, C) of two branches, the class token first -> the same, after the branches have spoken.

    Built as cls(dims=, heads=, **params), both by branch. `times`, which is not for the constructor, says how often.
    """

    about: ClassVar[About]
    search: ClassVar[dict[str, tuple[Any, ...]]] = {}

    @classmethod
    def cost(cls, *, dims: Sequence[int], heads: Sequence[int], tokens: Sequence[int], **params: Any) -> Cost:
        """Of one instance; `tokens` counts the patches of each branch."""
        raise NotImplementedError


BRIDGES: Registry[type[Bridge]] = Registry("bridge")
FUSIONS: Registry[type[Fusion]] = Registry("fusion")
