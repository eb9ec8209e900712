"""The order criterion for PyTorch models: what a training run imports."""

from commute_verify.criterion.answers import Cost, ExcessLoss, Preference, Tilt, Violation
from commute_verify.criterion.effect import OrderEffect
from commute_verify.criterion.estimation import order_effect
from commute_verify.criterion.noise_answers import NoiseEffect, NoiseVerdict
from commute_verify.criterion.order_probe import OrderProbe
from commute_verify.criterion.pooled import pooled
from commute_verify.criterion.preconditioner import AdamPreconditioner
from commute_verify.criterion.prediction import (
    DrawnMixture,
    FirstVariation,
    Prediction,
    drawn_mixture,
    first_variation,
    predict_excess_loss,
)
from commute_verify.criterion.products import hvp, lie_bracket

__all__ = [
    "AdamPreconditioner",
    "Cost",
    "DrawnMixture",
    "ExcessLoss",
    "FirstVariation",
    "NoiseEffect",
    "NoiseVerdict",
    "OrderEffect",
    "OrderProbe",
    "Prediction",
    "Preference",
    "Tilt",
    "Violation",
    "drawn_mixture",
    "first_variation",
    "hvp",
    "lie_bracket",
    "order_effect",
    "pooled",
    "predict_excess_loss",
]
