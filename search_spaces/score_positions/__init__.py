"""Positions inside the scores of softmax attention. One file each; `base.py` is their contract."""

from search_spaces.score_positions import dape, distance, log_cpb, rotary, table  # noqa: F401
from search_spaces.score_positions.base import SCORE_POSITIONS, ScorePosition, score_position, with_position

__all__ = ["SCORE_POSITIONS", "ScorePosition", "score_position", "with_position"]
