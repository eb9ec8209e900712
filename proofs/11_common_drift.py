# %% [markdown]
# # A drift common to all domains
#
# Weight decay or a regulariser L0 acts in every stage. It changes each bracket by R(L_i − L_j, L0) and
# nothing else at second order.

# %%
from __future__ import annotations

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.trees import Series, combine, criterion
from proofs.check import agrees_with_flow
from proofs.claim import Claim, Judgement
from proofs.compare import AS_WRITTEN, compare, scaled

Dt = sp.Symbol("Dt", positive=True)
DRIFT = 3  # the regulariser's colour: always on, with weight 1


# %%
def judge(printed: Series) -> Judgement:
    """Printed: P(L1 + L0, L2 + L0; L) as a sum of products without the drift and with it."""
    swap = SymbolicSchedule(((Dt, (1, 0, 1)), (Dt, (0, 1, 1))))
    derived = excess(swap, swap.straight(), 2, loss_series)
    if not agrees_with_flow(derived, swap, swap.straight(), 2):
        return Judgement("false", "the series and the flow of polynomial losses differ", "see the derivation")
    bilinear = criterion({1: 1, DRIFT: 1}, {2: 1, DRIFT: 1})
    both = {AS_WRITTEN: derived, "by bilinearity alone": scaled(Dt**2 / 2, bilinear)}
    verdicts = [compare(scaled(Dt**2 / 2, printed), {name: one}, "") for name, one in both.items()]
    if all(verdict.verdict == "holds" for verdict in verdicts):
        return Judgement("holds", "the flow with the drift always on, and bilinearity, both give it")
    return Judgement("false", verdicts[0].reason, "R(L1 + L0, L2 + L0) = R(L1, L2) + R(L1 − L2, L0)")


COMMON_DRIFT = Claim(
    id="common-drift",
    source="extension: weight decay, a regulariser",
    statement="a drift L0 common to all domains changes the bracket by R(Li − Lj, L0)",
    latex=r"R(L_i + L_0, L_j + L_0) = R(L_i, L_j) + R(L_i - L_j, L_0)",
    printed=combine((1, criterion(1, 2)), (1, criterion({1: 1, 2: -1}, DRIFT))),
    planted=combine((1, criterion(1, 2)), (1, criterion({1: 1, 2: 1}, DRIFT))),
    judge=judge,
)

CLAIMS = [COMMON_DRIFT]
