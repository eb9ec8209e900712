"""Which training domain should come later: the Lie bracket of gradient fields.

``R(L1, L2) = H2 g1 − H1 g2`` is what exchanging two domains does to the parameters, and
``P(L1, L2; L) = ⟨R(L1, L2), ∇L⟩`` what it does to a target: P > 0 says to train domain 2 first.

Everything public is named in ``__all__`` and loaded when it is first used, so that a training run pays for
what it uses and nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from commute_verify.criterion import AdamPreconditioner as AdamPreconditioner
    from commute_verify.criterion import OrderEffect as OrderEffect
    from commute_verify.criterion.estimation import order_effect as order_effect
    from commute_verify.criterion.order_probe import OrderProbe as OrderProbe
    from commute_verify.criterion.pooled import pooled as pooled
    from commute_verify.criterion.prediction import drawn_mixture as drawn_mixture
    from commute_verify.criterion.prediction import first_variation as first_variation
    from commute_verify.criterion.prediction import predict_excess_loss as predict_excess_loss
    from commute_verify.criterion.products import hvp as hvp
    from commute_verify.criterion.products import lie_bracket as lie_bracket
    from commute_verify.errors import CommuteError as CommuteError
    from commute_verify.mixture import ScheduledMixture as ScheduledMixture
    from commute_verify.schedules import WeightSchedule as WeightSchedule

__version__ = "0.1.0"

_HOME = {
    "AdamPreconditioner": "commute_verify.criterion",
    "CommuteError": "commute_verify.errors",
    "ScheduledMixture": "commute_verify.mixture",
    "WeightSchedule": "commute_verify.schedules",
    "OrderEffect": "commute_verify.criterion",
    "OrderProbe": "commute_verify.criterion",
    "coordinate_functions": "commute_verify.codegen",
    "drawn_mixture": "commute_verify.criterion",
    "first_variation": "commute_verify.criterion",
    "hvp": "commute_verify.criterion",
    "lie_bracket": "commute_verify.criterion",
    "order_effect": "commute_verify.criterion",
    "pooled": "commute_verify.criterion",
    "predict_excess_loss": "commute_verify.criterion",
}
_ROOMS = ("checkpoints", "codegen", "criterion", "flows", "kernels", "planning", "report", "symbolic")

__all__ = ["__version__", *_HOME, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _ROOMS:
        return import_module(f"commute_verify.{name}")
    raise AttributeError(f"commute_verify has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return list(__all__)
