"""Predictions of what a schedule does to a loss, on a ladder of predictors that know their limits."""

from commute_verify.criterion.prediction.answer import Predicted, Prediction, PredictionCost, Verdict
from commute_verify.criterion.prediction.drawn import DrawnMixture, drawn_mixture
from commute_verify.criterion.prediction.predict import first_variation, predict_excess_loss
from commute_verify.criterion.prediction.variation import FirstVariation

__all__ = [
    "DrawnMixture",
    "FirstVariation",
    "Predicted",
    "Prediction",
    "PredictionCost",
    "Verdict",
    "drawn_mixture",
    "first_variation",
    "predict_excess_loss",
]
