"""Shifted window attention (Liu et al., Swin Transformer, ICCV 2021, arXiv 2103.14030)."""

from search_spaces.mixers.base import MIXERS
from search_spaces.mixers.windows import GroupAttention
from search_spaces.taxonomy import About


@MIXERS.register("shifted_window")
class ShiftedWindowAttention(GroupAttention):
    """Window attention on the map rolled by half a window; tokens that the roll has brought together do not meet."""

    about = About(
        taxonomy="complexity reduction",
        group="windowing",
        paper="Liu et al., ICCV 2021",
        arxiv="2103.14030",
        complexity="4NC² + 2Nw²C",
    )
    shifted = True
