"""How positions inside the scores take part in the comparison with numerical oracles: build, rename weights, call.

The authors' modules are causal and work on sequences: distance is 0 towards later keys, and what the convolutions see
of them is 0. That is put around our modules here.
"""

from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.score_positions.dape import ScoreRefinement
from search_spaces.score_positions.distance import LearnedDistance, LinearDistance, LogDistance
from tests.oracles.adapter import Adapter, Meta, Tensors

NAMES = {"bias_": "decay.", "mlp2.0.": "refine.conv1.", "mlp2.2.": "refine.conv2.", "mlp.0.": "decay.fc1."}
NAMES |= {"mlp.2.": "decay.fc2.", "c": "decay.c", "L_multiplier": "decay.threshold"}


class CausalScores(nn.Module):
    """(B, h, N, N) scaled scores -> the same with bias and refinement, as the authors have them in language models."""

    def __init__(self, decay: nn.Module, heads: int, width: int, kernel: int, causal: bool):
        super().__init__()
        self.decay, self.causal = decay, causal
        self.refine = ScoreRefinement(heads, width, (1, kernel))

    def forward(self, scores: Tensor) -> Tensor:
        at = torch.arange(scores.shape[3])
        bias = self.decay((at[:, None] - at).clamp(min=0).float())
        seen, known = (scores.tril(), bias.tril()) if self.causal else (scores, bias)
        return scores + bias + self.refine(seen, known[None])


def build(meta: Meta) -> CausalScores:
    ctor, heads, width = meta["ctor"], meta["ctor"]["num_heads"], meta["ctor"]["mlp_width"]
    decay: Any = {"kerple": LogDistance, "alibi": LinearDistance}.get(kind(meta))
    decay = LearnedDistance(heads, width, length=1.0) if decay is None else decay(heads)
    return CausalScores(decay, heads, width, ctor.get("kernel", 1), causal=meta["mechanism"].startswith("dape_v2"))


def kind(meta: Meta) -> str:
    return str(meta["variant"].split("/")[1])


def rename(meta: Meta, params: Tensors) -> Tensors:
    """The first version's perceptron is a convolution of size 1. The first length is a factor of the threshold."""
    found, first = {}, params.get("init_L", torch.tensor(1.0))
    for name, tensor in params.items():
        theirs = next((p for p in sorted(NAMES, key=len, reverse=True) if name.startswith(p)), None)
        if theirs is None:
            assert name in ("slopes", "init_L"), name
        else:
            weight = tensor[:, :, None, None] if name.startswith("mlp2.") and tensor.ndim == 2 else tensor
            found[NAMES[theirs] + name.removeprefix(theirs)] = weight * first if name == "L_multiplier" else weight
    return found


def call(module: nn.Module, meta: Meta, inputs: Tensors) -> Tensors:
    return {"": module(inputs["x"])}


ADAPTER = Adapter(build=build, rename=rename, call=call)
NAMED = ("dape_v1", "dape_v1_fire", "dape_v2", "dape_v2_alibi", "dape_v2_fire")
MAPS: dict[str, Adapter] = dict.fromkeys(NAMED, ADAPTER)
