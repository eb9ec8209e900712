"""What really happens: exact affine flows, ODE flows, gradient steps, 60-digit flows of polynomial fields.

Nothing here knows of brackets, expansions or signatures; the formulas are held against it.
"""

from commute_verify.flows.affine import Quadratics, affine_flow
from commute_verify.flows.lie_series import lie_series_flow
from commute_verify.flows.ode import gradient_flow, torch_gradients
from commute_verify.flows.steps import gradient_steps

__all__ = [
    "Quadratics",
    "affine_flow",
    "gradient_flow",
    "gradient_steps",
    "lie_series_flow",
    "torch_gradients",
]
