"""Window attention (Liu et al., Swin Transformer, ICCV 2021, arXiv 2103.14030)."""

from search_spaces.mixers.base import MIXERS
from search_spaces.mixers.windows import GroupAttention
from search_spaces.taxonomy import About


@MIXERS.register("window")
class WindowAttention(GroupAttention):
    """Softmax attention inside each window of wh x ww neighbouring tokens."""

    about = About(
        taxonomy="complexity reduction",
        group="windowing",
        paper="Liu et al., ICCV 2021",
        arxiv="2103.14030",
        complexity="4NC² + 2Nw²C",
    )
