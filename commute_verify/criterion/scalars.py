"""An effect as named numbers, as loggers take them."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commute_verify.criterion.effect import OrderEffect


def scalars(effect: OrderEffect) -> dict[str, float]:
    """``commute/P/en-ru→mix``, P(L_en, L_ru; L_mix), and ``…/stderr``, for every pair and target.

    A pair stands in the order of the domains; a P above 0 says to train its second domain first.
    """
    found = {}
    for target, P in effect.P.items():
        stderr = effect.stderr[target]
        for i, j in combinations(range(len(effect.domains)), 2):
            name = f"commute/P/{effect.domains[i]}-{effect.domains[j]}→{target}"
            found[name], found[f"{name}/stderr"] = float(P[i, j]), float(stderr[i, j])
    return found
