# %% [markdown]
# # A learning rate that varies
#
# Flow time is ∫γ dt. Blocks of equal tokens under learning rates γ₁ and then γ₂ are not equal in flow time,
# and the swap has an effect at first order, −Σ ΔW_k g_k, before any bracket.

# %%
from __future__ import annotations

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series, of_order
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import combine, gradient, inner
from proofs.check import agrees_with_flow
from proofs.claim import Claim, Judgement
from proofs.compare import AS_WRITTEN, compare, math

gamma1, gamma2, Dt = sp.symbols("gamma1 gamma2 Dt", positive=True)
SWAP = SymbolicSchedule(((Dt, (gamma1, 0)), (Dt, (0, gamma2))))
MIXTURE = SymbolicSchedule(((Dt, (gamma1 / 2, gamma1 / 2)), (Dt, (gamma2 / 2, gamma2 / 2))))


# %%
def judge(printed: sp.Expr) -> Judgement:
    """Printed: the factor of ⟨g1 − g2, ∇L⟩ in the first-order excess of the swap over the mixture."""
    derived = of_order(excess(SWAP, MIXTURE, 1, loss_series), 1)
    if not agrees_with_flow(derived, SWAP, MIXTURE, 1):
        return Judgement("false", "the series and the flow of polynomial losses differ", "see the derivation")
    claimed = combine((printed, inner(gradient({1: 1, 2: -1}))))
    gaps = [w - m for w, m in zip(SWAP.totals(), MIXTURE.totals(), strict=True)]
    found = compare(claimed, {AS_WRITTEN: derived}, "−Σ ΔW_k ⟨g_k, ∇L⟩ with ΔW_k the gap in flow time")
    return Judgement(found.verdict, f"{found.reason}; ΔW = ({', '.join(map(math, gaps))})", found.correction)


LEARNING_RATE = Claim(
    id="learning-rate-first-order",
    source="extension: learning-rate schedules",
    statement="under learning rates γ₁ then γ₂, a swap changes the loss by −½(γ₁−γ₂)Δt ⟨g1−g2, ∇L⟩ at first "
    "order",
    latex=r"L(\theta_{12}) - L(\theta_{\mathrm{base}}) = -\tfrac12(\gamma_1 - \gamma_2)\Delta t\, "
    r"\langle g_1 - g_2, \nabla L\rangle + O(\Delta t^2)",
    printed=-(gamma1 - gamma2) * Dt / 2,
    planted=(gamma1 - gamma2) * Dt / 2,
    right=-(gamma1 - gamma2) * Dt / 2,
    judge=judge,
)

CLAIMS = [LEARNING_RATE]
