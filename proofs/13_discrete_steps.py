# %% [markdown]
# # Gradient steps instead of a flow
#
# n steps of size η on domain 1 and then n on domain 2, against 2n on the mixture: iterated sums replace the
# iterated integrals. The bracket appears with ½ n²η², and beside it a term that the flow does not have,
# smaller by 1/n: steps in one domain overshoot where the mixture's do not.

# %%
from __future__ import annotations

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series, of_order
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import Series, combine, criterion, derivative, gradient, inner
from proofs.check import agrees_with_flow
from proofs.claim import Claim, Judgement
from proofs.compare import AS_WRITTEN, compare

n, eta = sp.symbols("n eta", positive=True)
HALF = (sp.Rational(1, 2), sp.Rational(1, 2))
OVERSHOOT = inner(derivative(gradient({1: 1, 2: -1}), gradient({1: 1, 2: -1})))  # (H1 − H2)(g1 − g2)


def schedules(count: sp.Expr | int) -> tuple[SymbolicSchedule, SymbolicSchedule]:
    """n + n steps of one domain each, and 2n of the mixture."""
    blocks = SymbolicSchedule.blocks({1: count, 2: count}, step=eta)
    return blocks, SymbolicSchedule.constant(HALF, 2 * count, step=eta)


# %% [markdown]
# The symbolic n is checked against the real steps, n = 1, 2 and 3, on polynomial losses. The order-2 terms of
# the target's own Hessian cancel, as both runs have the same totals.


# %%
def judge(printed: tuple[sp.Expr, sp.Expr]) -> Judgement:
    """Printed: the coefficients of R and of (H1 − H2)(g1 − g2)."""
    derived = of_order(excess(*schedules(n), 2, loss_series), 2)
    for count in (1, 2, 3):
        blocks, mixture = schedules(count)
        now: Series = {t: c.as_expr().subs(n, count) for t, c in derived.items()}
        if not agrees_with_flow(now, blocks, mixture, 2):
            return Judgement("false", f"the steps themselves differ at n = {count}", "see the derivation")
    claimed = combine((printed[0], criterion(1, 2)), (printed[1], OVERSHOOT))
    return compare(claimed, {AS_WRITTEN: derived}, "½ n²η² R − ¼ nη² (H1 − H2)(g1 − g2)")


DISCRETE = Claim(
    id="discrete-steps",
    source="extension: gradient steps",
    statement="n steps of 1 and then n of 2 differ from 2n of the mixture by ½n²η²R − ¼nη²(H1−H2)(g1−g2)",
    latex=r"\theta_{12} - \theta_{\mathrm{base}} = \tfrac12 n^2\eta^2 R(L_1, L_2) "
    r"- \tfrac14 n\eta^2 (H_1 - H_2)(g_1 - g_2) + O(\eta^3)",
    printed=(n**2 * eta**2 / 2, -n * eta**2 / 4),
    planted=(n**2 * eta**2 / 2, n * eta**2 / 4),
    judge=judge,
)

CLAIMS = [DISCRETE]
