"""Predictors of positive costs (latency, energy, memory) from rows of numbers."""

from evaluators.prediction.base import Learner, Prediction
from evaluators.prediction.few_shot import FewShot
from evaluators.prediction.scores import Scores, score
from evaluators.prediction.stack import StackedRegression
from evaluators.prediction.transferred import TransferredRegression

__all__ = ["FewShot", "Learner", "Prediction", "Scores", "StackedRegression", "TransferredRegression", "score"]
