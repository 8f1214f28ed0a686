"""Grid attention (Tu et al., MaxViT, ECCV 2022, arXiv 2204.01697); the shuffled window of arXiv 2106.03650."""

from search_spaces.mixers.base import MIXERS
from search_spaces.mixers.windows import GroupAttention
from search_spaces.taxonomy import About


@MIXERS.register("grid")
class GridAttention(GroupAttention):
    """Softmax attention inside each group of tokens with equal (row mod n, column mod n): a dilated window.

    The bias is indexed by the coordinates inside a group, so it does not mean what a window's bias means.
    """

    about = About(
        taxonomy="complexity reduction",
        group="reordering",
        paper="Tu et al., ECCV 2022",
        arxiv="2204.01697",
        complexity="4NC² + 2NG²C",
    )
    reach = "global"
    dilated = True
