# %% [markdown]
# # Table 1 and appendix B: what was compared, and how the matrices were made

# %%
from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import sympy as sp

from commute_verify.data import published
from commute_verify.symbolic.expansions import excess, loss_series, of_order
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import criterion
from proofs.claim import Claim, Judgement
from proofs.compare import factor_between, math
from proofs.figures import exact

Dt = sp.Symbol("Dt", positive=True)

# %% [markdown]
# ## Table 1's caption: the ratio EL12 / P
# To second order EL12 = ½ Δt² P, so EL12/P is of the order of Δt² where the table prints figures near 1. The
# table itself says what it shows: its medians, carried to Δt = 0 along the line through the two smallest Δt,
# must be the limit of EL12/(N P), with N what was divided by besides P. The tolerance is the error that
# rounding to three decimals makes in that extrapolation.


# %%
@dataclass(frozen=True)
class Ratio:
    """EL12/(normaliser · P), and table 1's medians by starting time for each Δt."""

    normaliser: sp.Expr
    steps: tuple[Fraction, ...]
    medians: dict[Fraction, tuple[Fraction, ...]]


def printed_table() -> tuple[tuple[Fraction, ...], dict[Fraction, tuple[Fraction, ...]]]:
    """Δt and medians as printed."""
    table: dict[str, Any] = published()["table1"]
    medians = {exact(row["t"]): tuple(map(exact, row["median"])) for row in table["rows"]}
    return tuple(map(exact, table["dt"])), medians


def at_zero(steps: tuple[Fraction, ...], values: tuple[Fraction, ...]) -> Fraction:
    """The line through the first two points, at Δt = 0."""
    (s, r), (f, g) = steps[:2], values[:2]
    return (r * f - s * g) / (r - s)


def judge_caption(printed: Ratio) -> Judgement:
    swap = SymbolicSchedule.blocks({1: Dt, 2: Dt})
    leading = factor_between(of_order(excess(swap, swap.straight(), 2, loss_series), 2), criterion(1, 2))
    limits = {t: at_zero(printed.steps, values) for t, values in printed.medians.items()}
    smallest, second = printed.steps[:2]
    rounding = Fraction(1, 2000) * (second + smallest) / (second - smallest)
    low, high = min(limits.values()), max(limits.values())
    ratio = sp.simplify(leading / printed.normaliser)
    value = ratio.subs(Dt, sp.Rational(smallest))
    reason = (
        f"EL12 = {math(leading)} P, so the ratio tends to {math(ratio)}, {float(value):.1g} at the smallest "
        "Δt; the "
        f"printed medians tend to {float(low):.4f} – {float(high):.4f} (± {float(rounding):.4f} of print)"
    )
    if low - rounding <= value <= high + rounding and not ratio.has(Dt):
        return Judgement("holds", reason)
    return Judgement("corrected", reason, f"the table shows EL12 over {math(leading)} P")


STEPS, MEDIANS = printed_table()
CAPTION = Claim(
    id="table1-caption",
    source="Table 1, caption, and appendix B",
    statement="table 1 shows the ratio of the excess to the prediction P(L1, L2; L)",
    latex=r"EL^{12} \,/\, P(L_1, L_2; L)",
    printed=Ratio(sp.Integer(1), STEPS, MEDIANS),
    planted=Ratio(Dt**2 / 8, STEPS, MEDIANS),
    right=Ratio(Dt**2 / 2, STEPS, MEDIANS),
    judge=judge_caption,
)

# %% [markdown]
# ## A power law?
# A power law λ_j ~ j^{−s}, shifted or not, has a finite slope −d log λ/d log j for large j, and then
# λ_{2j}/λ_j tends to 2^{−s}. A geometric sequence has a constant λ_{j+1}/λ_j instead.

# %%
j = sp.Symbol("j", positive=True)
Kind = Literal["power law", "geometric", "neither"]


@dataclass(frozen=True)
class Spectrum:
    """λ_j and what it is called."""

    eigenvalue: sp.Expr
    kind: Kind


def kind_of(eigenvalue: sp.Expr) -> tuple[Kind, str]:
    """What the sequence is, and the ratio that shows it."""
    slope = sp.limit(-j * sp.diff(sp.log(eigenvalue), j), j, sp.oo)
    following = sp.simplify(eigenvalue.subs(j, j + 1) / eigenvalue)
    doubled = sp.simplify(eigenvalue.subs(j, 2 * j) / eigenvalue)
    shown = rf"$\lambda_{{2j}}/\lambda_j = {sp.latex(doubled)}$"
    shown += rf", $\lambda_{{j+1}}/\lambda_j = {sp.latex(following)}$"
    if slope.is_finite and slope.is_positive:
        return "power law", f"{shown}; slope in log–log: {math(slope)}"
    return ("neither" if following.has(j) else "geometric"), f"{shown}; slope in log–log: unbounded"


def judge_power_law(printed: Spectrum) -> Judgement:
    kind, reason = kind_of(printed.eigenvalue)
    if kind == printed.kind:
        return Judgement("holds", reason)
    return Judgement("corrected", reason, f"the sequence is {'a power law' if kind == 'power law' else kind}")


POWER_LAW = Claim(
    id="power-law",
    source="§4.1 and appendix B",
    statement="the eigenvalues follow the power law λ_j = 0.7^j",
    latex=r"\lambda_j = 0.7^j",
    printed=Spectrum(sp.Rational(7, 10) ** j, "power law"),
    planted=Spectrum((j + 1) ** -2, "geometric"),
    right=Spectrum(sp.Rational(7, 10) ** j, "geometric"),
    judge=judge_power_law,
)

# %% [markdown]
# ## A_i = C_iᵀ Diag(Λ) C
# The bare C has no meaning in the text. With C = C_i, A_i is symmetric with the eigenvalues Λ. With any other
# orthogonal C it is not symmetric, so it is no Hessian.

# %%
C_I = sp.Matrix([[3, 4], [-4, 3]]) / 5
C_BARE = sp.Matrix([[5, 12], [-12, 5]]) / 13
EIGENVALUES = sp.diag(1, sp.Rational(7, 10))


@dataclass(frozen=True)
class Conjugation:
    """Left · Diag(Λ) · right, each a matrix by name (``C_i`` or ``C``), the left one transposed or not."""

    left: str
    left_transposed: bool
    right: str


def judge_conjugation(printed: Conjugation) -> Judgement:
    matrices = {"C_i": C_I, "C": C_BARE}
    left, right = matrices[printed.left], matrices[printed.right]
    product = (left.T if printed.left_transposed else left) * EIGENVALUES * right
    asymmetry = product[0, 1] - product[1, 0]
    eigenvalues = product.charpoly().as_expr() == EIGENVALUES.charpoly().as_expr()
    are = "are" if eigenvalues else "are not"
    reason = f"for two rotations a12 − a21 = {math(asymmetry)}, and the eigenvalues {are} those of Λ"
    if asymmetry == 0 and eigenvalues:
        return Judgement("holds", reason)
    return Judgement("corrected", reason, "A_i = C_iᵀ Diag(Λ) C_i")


CONJUGATION = Claim(
    id="appendix-b-conjugation",
    source="Appendix B",
    statement="A_i = C_iᵀ Diag(Λ) C is a symmetric matrix with the eigenvalues Λ",
    latex=r"A_i = C_i^T\, \mathrm{Diag}(\Lambda)\, C",
    printed=Conjugation("C_i", True, "C"),
    planted=Conjugation("C_i", False, "C_i"),
    right=Conjugation("C_i", True, "C_i"),
    judge=judge_conjugation,
)

CLAIMS = [CAPTION, POWER_LAW, CONJUGATION]
