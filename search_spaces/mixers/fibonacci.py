"""Offset sets along rows of the Wythoff array, one row a head (Rahimian et al., 2024, arXiv 2406.19391).

Head i over N tokens keeps the terms of row i up to its window, which grows from w_min for the first head to N·w_max for
the last. Tokens p and q of that head meet where |p - q| is one of them. Rows of the array are disjoint, and so are the
sets of two heads; the modified sets start two terms earlier, at i - 1 and floor(i·φ), and overlap.
"""

from math import floor, sqrt
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

GOLDEN = (1 + sqrt(5)) / 2


def wythoff_row(row: int, window: int) -> set[int]:
    """Terms of one row of the Wythoff array up to `window`; the first belongs to it in any case."""
    step = floor(row * GOLDEN)
    now, after = floor(step * GOLDEN), floor(step * GOLDEN) + step
    terms = {now}
    while after <= window:
        terms.add(after)
        now, after = after, now + after
    return terms


def head_offsets(
    tokens: int, heads: int, w_min: int = 5, w_max: float = 1 / 3, variant: str = "standard", include_self: bool = False
) -> list[list[int]]:
    """The offsets of each head, sorted, without those that leave the sequence."""
    widest = floor(tokens * w_max + 1e-9)  # 1/3 of a multiple of 3 is whole
    found = []
    for head in range(1, heads + 1):
        window = w_min + (max(widest, w_min) - w_min) * (head - 1) // max(1, heads - 1)
        offsets = wythoff_row(head, window) | ({0} if include_self else set())
        if variant == "modified":
            offsets |= {head - 1, floor(head * GOLDEN)}
        found.append(sorted(o for o in offsets if o < tokens))
    return found


def dealt(offsets: list[list[int]], shuffle: str, layer: int) -> list[list[int]]:
    """Which head gets which set: "roll" moves them on by one head a layer, "random" shuffles with the layer as seed."""
    if shuffle == "roll":
        turn = layer % len(offsets)
        return offsets[turn:] + offsets[:turn]
    offsets = list(offsets)
    if shuffle == "random":
        Random(layer).shuffle(offsets)
    return offsets


def lonely(offsets: list[int], tokens: int) -> tuple[int, int]:
    """First and last token (exclusive) from which every offset leads outside: those in the middle."""
    nearest = min(offsets, default=tokens)
    return (tokens - nearest, nearest) if 2 * nearest > tokens else (0, 0)


def head_steps(offsets: list[int], tokens: int, keep_lonely: bool) -> list[int]:
    """Signed offsets of one head. keep_lonely: with step 0, last, where a token needs it to meet any."""
    steps = sorted({sign * o for o in offsets for sign in (-1, 1)})
    first, last = lonely(offsets, tokens)
    return [*steps, 0] if keep_lonely and first < last else steps


def support(steps: list[int], offsets: list[int], tokens: int, slots: int) -> Tensor:
    """(S, N): whether each slot of each token leads to another token, or a lonely one to itself."""
    target = torch.arange(tokens) + torch.tensor(steps, dtype=torch.long)[:, None]
    inside = (target >= 0) & (target < tokens)
    if 0 in steps and 0 not in offsets:
        first, last = lonely(offsets, tokens)
        inside[-1] = (target[-1] >= first) & (target[-1] < last)
    return F.pad(inside, (0, 0, 0, slots - len(steps)))


def pair_map(steps: list[list[int]], inside: Tensor) -> Tensor:
    """(h, N, N): the supports (h, S, N) as maps of all pairs, for few tokens."""
    heads, _, tokens = inside.shape
    mask = torch.zeros(heads, tokens, tokens, dtype=torch.bool)
    for head, own in enumerate(steps):
        slot, token = inside[head].nonzero(as_tuple=True)
        mask[head, token, token + torch.tensor(own, dtype=torch.long)[slot]] = True
    return mask


def pairs(offsets: list[int], tokens: int, keep_lonely: bool) -> int:
    """How many pairs (p, q) a head scores."""
    first, last = lonely(offsets, tokens)
    return keep_lonely * (last - first) + sum(2 * (tokens - o) if o else tokens for o in offsets)
