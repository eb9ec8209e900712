"""The paper's untested guess (§4.2): where P has one sign for both languages, a tilt improves both at once.

P(L_1, L_2; L_i) < 0 for both says that order 12 lowers both losses at second order, and P > 0 for both that
order 21 does. (The paper says "both negative" of P(L_2, L_1; L_i) and of one order; the other is the mirror.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from experiments.gpt2.comparison.cases import Cases, select
from experiments.gpt2.comparison.excess import At, Excess
from experiments.gpt2.comparison.findings import Judgement
from experiments.gpt2.comparison.predictions import Prediction
from experiments.gpt2.comparison.results import BRACKETS, Results
from experiments.gpt2.comparison.words import counted

Outcome = Literal["both lower", "both lower, resolved", "one higher, resolved", "not decided"]


@dataclass(frozen=True)
class Tilted:
    """What a tilt in the favoured order did to both languages."""

    at: At
    one: Excess
    other: Excess

    @property
    def outcome(self) -> Outcome:
        """Whether both are lower, and whether that or the opposite is resolved."""
        pair = (self.one, self.other)
        if any(each.sign > 0 for each in pair):
            return "one higher, resolved"
        if all(each.sign < 0 for each in pair):
            return "both lower, resolved"
        return "both lower" if all(each.value < 0 for each in pair) else "not decided"


@dataclass(frozen=True)
class Candidate:
    """A checkpoint at which a bracket says that ``order`` lowers both languages, and what tilts did there.

    ``P`` are P(L_1, L_2; L_i) for both languages, in units of the bracket.
    """

    run: int
    step: int
    bracket: str
    order: Literal["12", "21"]
    P: tuple[Prediction, Prediction]
    tilted: tuple[Tilted, ...]

    @property
    def resolved(self) -> bool:
        """Whether both signs of P are resolved."""
        return all(each.resolved for each in self.P)

    def shortest(self, tail: bool) -> Tilted | None:
        """The tilt of the shortest Δt, then the largest Δw, or None."""
        tried = [each for each in self.tilted if each.at.tail == tail]
        return min(tried, key=lambda each: (each.at.window, -each.at.delta), default=None)

    def decided(self, tail: bool) -> Tilted | None:
        """The tilt of the shortest Δt (then the largest Δw) that is resolved either way, or None."""
        deciding = [
            each for each in self.tilted if each.at.tail == tail and each.outcome.endswith(", resolved")
        ]
        return min(deciding, key=lambda each: (each.at.window, -each.at.delta), default=None)


def candidates(results: Results, cases: Cases) -> tuple[Candidate, ...]:
    """All checkpoints and brackets at which P has the same sign for both languages."""
    found = []
    for number, run in enumerate(results.runs):
        for point in run.checkpoints:
            for name in BRACKETS:
                effect = point.effects[name]
                i, j = (effect.domains.index(domain) for domain in results.domains)
                targets = [results.name_in(effect, domain) for domain in results.domains]
                one, other = (
                    Prediction(float(effect.P[t][i, j]), float(effect.stderr[t][i, j])) for t in targets
                )
                if one.value * other.value > 0:
                    order: Literal["12", "21"] = "12" if one.value < 0 else "21"
                    tilts = _tilts(results, cases, number, point.step, order)
                    found.append(Candidate(number, point.step, name, order, (one, other), tilts))
    return tuple(found)


def _tilts(results: Results, cases: Cases, run: int, step: int, order: str) -> tuple[Tilted, ...]:
    first, second = results.domains
    here = select(cases, run=run, step=step, kind=order)
    others = {case.at: case.observed for case in here}
    return tuple(
        Tilted(case.at, case.observed, others[case.at._replace(target=second)])
        for case in select(here, targets=(first,))
    )


def judge(found: tuple[Candidate, ...], bracket: str, tail: bool) -> Judgement:
    """Judge the guess over the checkpoints at which both P are resolved.

    Reproduced if each that is decided, by its shortest Δt, is lower on both languages; not reproduced if one
    is higher on a language; not testable if none is decided.
    """
    mine = [each for each in found if each.bracket == bracket]
    resolved = [each for each in mine if each.resolved]
    decided = [tilt for each in resolved if (tilt := each.decided(tail)) is not None]
    lower = [tilt for tilt in decided if tilt.outcome == "both lower, resolved"]
    shortest = [first for each in resolved if (first := each.shortest(tail)) is not None]
    both = sum(tilt.outcome.startswith("both lower") for tilt in shortest)
    if not mine:
        return Judgement("not testable here", "P has one sign for both languages at no checkpoint")
    reason = (
        f"P has one sign for both languages at {counted(len(mine), 'checkpoint')}, resolved at "
        f"{len(resolved)}; {len(decided)} of these are decided by a tilt, {len(lower)} with both languages "
        "lower"
        + (
            f"; at the shortest Δt both are lower, resolved or not, at {both} of {len(shortest)}"
            * bool(shortest)
        )
    )
    if not decided:
        return Judgement("not testable here", reason)
    return Judgement("reproduced" if len(lower) == len(decided) else "not reproduced", reason)


def both_lower(results: Results, cases: Cases, tail: bool) -> tuple[At, ...]:
    """Every tilt that lowered both languages, resolved, whatever was predicted."""
    first, second = results.domains
    signs = {case.at: case.observed.sign for case in cases}
    return tuple(
        at
        for at, sign in signs.items()
        if at.kind != "orders"
        and (at.tail, at.target) == (tail, first)
        and sign < 0
        and signs[at._replace(target=second)] < 0
    )
