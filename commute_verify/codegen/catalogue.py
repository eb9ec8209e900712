"""The kernels: which formula each one prints, and the words around it."""

from __future__ import annotations

from dataclasses import dataclass

from commute_verify.codegen.formulas import (
    Formula,
    bracket,
    criterion_of_pairs,
    excess_loss,
    excess_parameters,
)
from commute_verify.codegen.primitives import PAIR, PRIMITIVES, Primitive


@dataclass(frozen=True)
class Kernel:
    """One emitted function: its formula, and text that no derivation gives.

    ``left`` is the left side of the equation, ``notes`` say units, sign and source, and ``example`` is a
    doctest whose ``{array}`` becomes the library's constructor.
    """

    name: str
    summary: str
    left: str
    formula: Formula
    result: str
    notes: tuple[str, ...]
    example: str
    primitives: tuple[Primitive, ...] = PRIMITIVES
    remainder: str = ""


_SWAP_NOTES = (
    "Sign: descent θ' = −Σ_k w_k g_k; the schedule's value less the reference's.",
    "Units: dₙ in flow timeⁿ, with flow time ∫γ dt for a learning rate γ; the result in {unit}.",
    "First order: d1 = 0 between schedules of equal totals in flow time. With a learning rate that varies, "
    "equal tokens are not equal flow time, and −Σ_i d1[i] {first} comes before any bracket.",
    "Source: paper, D.2, with the minus sign that its first-order term lacks; {order}.",
)

_SWAP_2 = """\
# L_1 = x and L_2 = x²/2 at x = 2; 1 for Δt = 1 and then 2, against their mixture for 2Δt
>>> g = {array}([[1.0], [2.0]])
>>> d1, d2 = {array}([0.0, 0.0]), {array}([[0.0, 0.5], [-0.5, 0.0]])
"""

_SWAP_3 = (
    _SWAP_2
    + """\
>>> d3 = {array}([[[0, 2], [-1, 2]], [[-1, -1], [-1, 0]]]) / 6.0
"""
)


def _notes(unit: str, first: str, order: str) -> tuple[str, ...]:
    return tuple(note.format(unit=unit, first=first, order=order) for note in _SWAP_NOTES)


_PARAMETERS = ("those of θ", "g_i")
_LOSS = ("those of L", "⟨g_i, u⟩")
_DERIVED = ("derived from the flow's series", "order 3 is derived from the flow's series")

KERNELS = (
    Kernel(
        name="lie_bracket",
        summary="Lie bracket of the gradient fields of two losses, L_i trained first.",
        left="R(L_i, L_j) = [g_i, g_j] = D g_j · g_i − D g_i · g_j",
        formula=bracket(),
        result="(..., n)",
        notes=(
            "Sign: to second order, 1 for Δt and then 2 for Δt ends at ½ Δt² R(L_1, L_2) from the mixture.",
            "Units: those of a Hessian times a gradient.",
            "Source: paper, eq. 6, in the convention [X, Y] = DY·X − DX·Y.",
        ),
        example="""\
# L_i = x²/2 and L_j = x y at (1, 2)
>>> lie_bracket({array}([0.0, 1.0]), {array}([2.0, 0.0])).tolist()
[-2.0, 1.0]""",
        primitives=PAIR,
    ),
    Kernel(
        name="order_criterion",
        summary="The criterion of every pair of domains for one target, from K Hessian-vector products.",
        left="P(L_i, L_j; L) = ⟨R(L_i, L_j), ∇L⟩",
        formula=criterion_of_pairs(),
        result="(..., K, K), antisymmetric",
        notes=(
            "Sign: P[i, j] > 0 means that i before j ends with a higher L than j before i, so put j first.",
            "Units: nats over flow time squared, when L is in nats.",
            "Source: paper, eq. 7, in the reading of eq. 6; no bracket is formed, as Hessians are symmetric.",
        ),
        example="""\
# L_1 = x²/2, L_2 = x y and L = y at (1, 2): put 2 first
>>> g, Hu = {array}([[1.0, 0.0], [2.0, 1.0]]), {array}([[0.0, 0.0], [1.0, 0.0]])
>>> order_criterion(g, Hu).tolist()
[[0.0, 1.0], [-1.0, 0.0]]""",
    ),
    Kernel(
        name="excess_parameters_2",
        summary="Difference of the parameters that two schedules reach, with all terms to order 2.",
        left="θ_w − θ_ref",
        formula=excess_parameters(2),
        result="(..., n)",
        notes=_notes(*_PARAMETERS, _DERIVED[0]),
        example=_SWAP_2
        + """\
>>> Hg = {array}([[[0.0], [0.0]], [[1.0], [2.0]]])
>>> excess_parameters_2(d1, d2, g, Hg).tolist()  # ½ Δt² (H_2 g_1 − H_1 g_2)
[0.5]""",
        remainder="O(T³)",
    ),
    Kernel(
        name="excess_parameters_3",
        summary="Difference of the parameters that two schedules reach, with all terms to order 3.",
        left="θ_w − θ_ref",
        formula=excess_parameters(3),
        result="(..., n)",
        notes=_notes(*_PARAMETERS, _DERIVED[1]),
        example=_SWAP_3
        + """\
>>> Hg = {array}([[[0.0], [0.0]], [[1.0], [2.0]]])
>>> HHg = {array}([[[[0.0], [0.0]]] * 2, [[[0.0], [0.0]], [[1.0], [2.0]]]])
>>> Tgg = {array}([[[[0.0]] * 2] * 2] * 2)
>>> excess = excess_parameters_3(d1, d2, d3, g, Hg, HHg, Tgg)  # Δt²/2 − Δt³/3
>>> round(float(excess[0]), 6)
0.166667""",
        remainder="O(T⁴)",
    ),
    Kernel(
        name="excess_loss_2",
        summary="Difference of a target loss between two schedules, with all terms to order 2.",
        left="L(θ_w) − L(θ_ref)",
        formula=excess_loss(2),
        result="(...)",
        notes=_notes(*_LOSS, _DERIVED[0]),
        example=_SWAP_2
        + """\
>>> u, Hu, HLg = {array}([2.0]), {array}([[0.0], [2.0]]), {array}([[1.0], [2.0]])
>>> float(excess_loss_2(d1, d2, g, u, Hu, HLg))  # Δt² for the target L_2
1.0""",
        remainder="O(T³)",
    ),
    Kernel(
        name="excess_loss_3",
        summary="Difference of a target loss between two schedules, with all terms to order 3.",
        left="L(θ_w) − L(θ_ref)",
        formula=excess_loss(3),
        result="(...)",
        notes=_notes(*_LOSS, _DERIVED[1]),
        example=_SWAP_3
        + """\
>>> u, Hu, HLg = {array}([2.0]), {array}([[0.0], [2.0]]), {array}([[1.0], [2.0]])
>>> Hg = {array}([[[0.0], [0.0]], [[1.0], [2.0]]])
>>> Tu_g = TL = {array}([[[0.0]] * 2] * 2)  # all third derivatives vanish
>>> excess = excess_loss_3(d1, d2, d3, g, u, Hu, Hg, HLg, Tu_g, TL)  # Δt² − 13/6 Δt³ for L_2
>>> round(float(excess), 6)
-1.166667""",
        remainder="O(T⁴)",
    ),
)
