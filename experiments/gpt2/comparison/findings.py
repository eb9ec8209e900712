"""The paper's five findings on language models (§4.2, four bullets; §4.3, conclusion), judged by rules.

No verdict is written by hand. Every rule reads the longest Δt of a run, as the paper's interventions are
long, and says "not testable here" where the seeds do not resolve what it asks. The mean loss is that of
L = (L_1 + L_2)/2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from experiments.gpt2.comparison.agreement import Share
from experiments.gpt2.comparison.cases import Case, Cases, select
from experiments.gpt2.comparison.fronts import dominates, front
from experiments.gpt2.comparison.results import MEAN, Results
from experiments.gpt2.comparison.words import excess_text, listed, share_text

Verdict = Literal["reproduced", "not reproduced", "not testable here"]

FEWEST = 6
"""Fewer signs that all agree do not put the interval of their share above one half."""

NEGLIGIBLE = 0.1
"""A price below this share of the gain is negligible."""


@dataclass(frozen=True)
class Judgement:
    """A verdict and what it was read from."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Finding:
    """A finding of the paper, the rule, and its verdicts right after the window and after the common tail."""

    id: str
    source: str
    statement: str
    rule: str
    judged: Judgement
    judged_after_tail: Judgement


Judge = Callable[[Results, Cases], Judgement]


def findings(results: Results, all_cases: Cases) -> tuple[Finding, ...]:
    """The five findings."""
    return tuple(
        Finding(
            key,
            source,
            statement,
            rule,
            *(judge(results, select(all_cases, tail=tail)) for tail in (False, True)),
        )
        for key, source, statement, rule, judge in _FINDINGS
    )


def run_of(results: Results, balanced: bool) -> int | None:
    """The number of the first run with equal weights, or with unequal ones."""
    numbers = [n for n, run in enumerate(results.runs) if run.balanced == balanced]
    return numbers[0] if numbers else None


def longest(cases: Sequence[Case]) -> Cases:
    """The cases at the longest Δt."""
    return select(cases, window=max((case.at.window for case in cases), default=0))


def table_delta(cases: Sequence[Case]) -> float | None:
    """The Δw that stands for a run in a table: that of most seeds at the longest Δt, then the largest."""
    counts = {(len(case.observed.values), case.at.delta) for case in longest(cases)}
    return max(counts)[1] if counts else None


_NO_RUN = Judgement("not testable here", "there is no such run, or no branch of it")


def _order_matters(results: Results, cases: Cases) -> Judgement:
    found = select(longest(select(cases, run=run_of(results, True))), kind="orders", targets=results.domains)
    if not found or run_of(results, True) is None:
        return _NO_RUN
    known = [case for case in found if case.observed.error is not None]
    resolved = sum(case.observed.resolved for case in known)
    reason = f"{resolved} of {len(known)} differences between the two orders are resolved"
    if not known:
        return Judgement("not testable here", "no difference between the orders has an error")
    return Judgement("reproduced" if 2 * resolved >= len(known) else "not reproduced", reason)


def _early_harm(results: Results, cases: Cases) -> Judgement:
    found = select(longest(select(cases, run=run_of(results, True))), targets=(MEAN,))
    if not found or run_of(results, True) is None:
        return _NO_RUN
    first, delta = min(case.at.step for case in found), max(case.at.delta for case in found)
    texts = {}
    signs: list[int] = []
    for step in sorted({case.at.step for case in found}):
        pair = [select(found, step=step, delta=delta, kind=kind) for kind in ("12", "21")]
        both = [case.observed for one in pair for case in one]
        texts[step] = f"t = {step}: {listed([excess_text(each) for each in both])}"
        if step == first:
            signs = [each.sign for each in both]
    reason = f"excess of the mean loss in both orders, Δw = {delta:g}: {'; '.join(texts.values())}"
    if signs and min(signs) > 0:
        return Judgement("reproduced", reason)
    return Judgement("not reproduced" if min(signs, default=0) < 0 else "not testable here", reason)


def _fronts(results: Results, cases: Cases) -> Judgement:
    found = longest(select(cases, run=run_of(results, True)))
    later = sorted({case.at.step for case in found})[1:]
    if not later or run_of(results, True) is None:
        return Judgement("not testable here", "no run has equal weights and a second checkpoint")
    behind, raw, traded = 0, 0, []
    for step in later:
        points = front(results, select(found, step=step))
        behind += sum(dominates(a, b, resolved=True) for a, b in permutations(points, 2))
        raw += sum(dominates(a, b, resolved=False) for a, b in permutations(points, 2))
        delta = max(case.at.delta for case in found)
        ends = select(found, step=step, delta=delta, kind="orders")
        signs = [case.observed.sign for target in results.domains for case in select(ends, targets=(target,))]
        if sorted(signs) == [-1, 1]:
            traded.append(step)
    at = f"t = {listed(traded)}" if traded else "none of these"
    reason = (
        f"of the points at t = {listed(later)}, {behind} pairs have one point better on both languages by "
        f"more than two standard errors ({raw} if errors are ignored); the ends of the front trade one "
        f"language for the other, both resolved, at {at}"
    )
    if behind:
        return Judgement("not reproduced", reason)
    return Judgement("reproduced" if traded == later else "not testable here", reason)


def last_wins(results: Results, cases: Sequence[Case], *, resolved: bool) -> Share:
    """How many excesses are negative on the language raised last and positive on the other."""
    first, second = results.domains
    lower = {("12", second), ("21", first)}
    signs = [
        (case.observed.value < 0) == ((case.at.kind, case.at.target) in lower)
        for case in cases
        if case.at.kind != "orders" and case.at.target != MEAN and (case.observed.resolved or not resolved)
    ]
    return Share(sum(signs), len(signs))


def _last_language(results: Results, cases: Cases) -> Judgement:
    found = longest(select(cases, run=run_of(results, True)))
    if not found or run_of(results, True) is None:
        return _NO_RUN
    resolved, everything = (last_wins(results, found, resolved=only) for only in (True, False))
    among = f"{share_text(resolved)} of the resolved excesses, " if resolved.total else ""
    reason = f"so in {among}{share_text(everything)} of all"
    if resolved.total < FEWEST:
        few = f"fewer than {FEWEST} are" if resolved.total else "none is"
        return Judgement("not testable here", f"{reason}; {few} resolved")
    return Judgement("reproduced" if resolved.interval[0] > 0.5 else "not reproduced", reason)


def _low_resource_last(results: Results, cases: Cases) -> Judgement:
    number = run_of(results, False)
    mine = longest(select(cases, run=number))
    delta = table_delta(mine)
    if number is None or delta is None:
        return _NO_RUN
    mine = select(mine, delta=delta)
    weights = results.runs[number].weights
    low = min(weights, key=lambda name: weights[name])
    high = next(name for name in results.domains if name != low)
    order = "12" if low == results.domains[1] else "21"
    signs, texts = [], []
    for step in sorted({case.at.step for case in mine}):
        at = select(mine, step=step, kind=order)
        mean, gain, price = (select(at, targets=(target,))[0].observed for target in (MEAN, low, high))
        signs.append(mean.sign)
        texts.append(f"t = {step}: mean {excess_text(mean)}, {_price(high, price.value, low, gain.value)}")
    reason = f"{low} last, Δw = {delta:g}: {'; '.join(texts)}"
    if 1 in signs:
        return Judgement("not reproduced", reason)
    if not any(signs):
        return Judgement("not testable here", reason)
    most = 2 * signs.count(-1) >= len(signs)
    return Judgement("reproduced" if most else "not reproduced", reason)


def _price(high: str, price: float, low: str, gain: float) -> str:
    """What one language pays for the other's gain, in words."""
    if gain >= 0:
        return f"{low} gains nothing"
    if price <= 0:
        return f"{low} gains and {high} too"
    share = price / -gain
    amount = f"{share:.0%} of what" if share < 10 else f"{share:.0f} times what"
    return f"{high} pays {amount} {low} gains"


_FINDINGS: tuple[tuple[str, str, str, str, Judge], ...] = (
    (
        "order-matters",
        "§4.2, first",
        "changing the schedule changes the result though the tokens of each language are the same",
        "reproduced if at least half of the differences between the two orders, on the two languages, are "
        "resolved; equal weights",
        _order_matters,
    ),
    (
        "early-harm",
        "§4.2, second",
        "early in training a large intervention does harm",
        "reproduced if at the first checkpoint, at the largest Δw, both orders end with a higher mean loss "
        "than the base, resolved; not reproduced if one ends lower, resolved; equal weights",
        _early_harm,
    ),
    (
        "fronts",
        "§4.2, third",
        "later in training the results form well-behaved Pareto fronts",
        "at all checkpoints after the first: not reproduced if a point is better than another on both "
        "languages, resolved; reproduced if none is and the two orders trade one language for the other, "
        "resolved; equal weights",
        _fronts,
    ),
    (
        "last-language",
        "§4.2, fourth",
        "the result is better on the language raised at the end and worse on the other",
        f"over the resolved excesses, at least {FEWEST}: reproduced if the interval of the share lies above "
        "one half; equal weights",
        _last_language,
    ),
    (
        "low-resource-last",
        "§4.3",
        "with unequal weights it is better to raise the low-resource language only at the end",
        "mean loss against the base: not reproduced if it is higher, resolved, at any checkpoint; reproduced "
        "if it is lower, resolved, at half of them or more",
        _low_resource_last,
    ),
)
