"""Predictions of what a schedule does to a loss, on a ladder of predictors that know their limits."""

from commute_verify.criterion.prediction.answer import Predicted, Prediction, PredictionCost, Verdict
from commute_verify.criterion.prediction.predict import predict_excess_loss

__all__ = ["Predicted", "Prediction", "PredictionCost", "Verdict", "predict_excess_loss"]
