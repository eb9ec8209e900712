"""One Hessian-vector product, and one bracket, of a model on given batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from commute_verify.criterion import checked
from commute_verify.criterion.gradient import gradient
from commute_verify.criterion.hessian_products import Method, check_method, hessian_vector_products
from commute_verify.criterion.objective import Batch, LossFunction, Objective, located
from commute_verify.criterion.undisturbed import undisturbed
from commute_verify.criterion.vectors import Vector
from commute_verify.kernels.torch_kernels import lie_bracket as kernel


def hvp(
    model: nn.Module,
    loss_fn: LossFunction,
    batch: Batch,
    vector: Mapping[str, Tensor],
    *,
    method: Method = "double-backward",
    params: Callable[[str], bool] | None = None,
) -> Vector:
    """H v for the mean loss of one batch: H = ∇²(summed loss / weight), at the model's parameters.

    ``loss_fn(model, batch) -> (summed loss, weight)``. ``vector`` maps the names of the trainable parameters
    (or those that ``params`` accepts) to tensors of their shapes, in any floating dtype; so does the result.
    Raises CommuteError for other names or shapes, for entries that are not finite, and where the method fails
    on the model.

    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> half_square = lambda model, x: (0.5 * model(x).square().sum(), len(x))
    >>> x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    >>> hvp(model, half_square, x, {"weight": torch.ones(1, 2)})["weight"].tolist()  # H = xᵀx
    [[3.0, 6.0]]
    """
    check_method(method)
    objective = Objective.of(model, loss_fn, params)
    with undisturbed(model):
        placed = checked.vector(vector, objective.parameters)
        answer = hessian_vector_products(objective, batch, [placed], method)
    return {name: p / answer.weight for name, p in answer.products[0].items()}


def lie_bracket(
    model: nn.Module,
    loss_fn: LossFunction,
    batch_i: Batch,
    batch_j: Batch,
    *,
    method: Method = "double-backward",
    params: Callable[[str], bool] | None = None,
) -> Vector:
    """R(L_i, L_j) = [g_i, g_j] = H_j g_i − H_i g_j for the mean losses of two batches.

    After Δt of i and then Δt of j the parameters lie ½ Δt² R from those after 2Δt of the mixture, to order 2
    (paper, eq. 6 and §4.1). One batch serves both of a domain's factors: for an estimate over data, with
    its error, use ``order_effect``. Returns {parameter name: tensor}. Raises as ``hvp`` does.

    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> half_square = lambda model, x: (0.5 * model(x).square().sum(), len(x))
    >>> x, y = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    >>> lie_bracket(model, half_square, x, y)["weight"].abs().sum().item()  # each moves a weight of its own
    0.0
    """
    check_method(method)
    objective = Objective.of(model, loss_fn, params)
    with undisturbed(model):
        with located("batch_i"):
            g_i, w_i, _ = gradient(objective, batch_i)
        with located("batch_j"):
            g_j, w_j, _ = gradient(objective, batch_j)
            mean_i = {name: g / w_i for name, g in g_i.items()}
            hj = hessian_vector_products(objective, batch_j, [mean_i], method)
        with located("batch_i"):
            mean_j = {name: g / w_j for name, g in g_j.items()}
            hi = hessian_vector_products(objective, batch_i, [mean_j], method)
    return {name: kernel(hj.products[0][name] / w_j, hi.products[0][name] / w_i) for name in mean_i}
