"""Flows of polynomial vector fields to 60 digits, by their Lie (Taylor) series: an oracle for orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, log
from numbers import Rational

from mpmath import mp, mpf

from commute_verify.errors import CommuteError

Exact = int | Rational | str
Monomial = tuple[int, ...]
Field = Sequence[Mapping[Monomial, Exact]]
Polynomials = list[dict[Monomial, Fraction]]

_GUARD_DIGITS = 15
# Steps of r/8, r the proven radius: work per step grows as order² ∝ 1/log² q and steps as q, least at q = e².
_SHRINK = 8


def lie_series_flow(
    fields: Sequence[Field],
    schedule: Sequence[tuple[Exact, Sequence[Exact]]],
    theta0: Sequence[Exact],
    *,
    digits: int = 60,
) -> list[mpf]:
    """θ(T) of θ' = Σ_k w_k(t) X_k(θ), θ(0) = theta0, X_k polynomial: θ(h) = Σ_m (hᵐ/m!) (X^m id)(θ).

    fields[k][i] is coordinate i of X_k as {exponents (n of them): coefficient}; schedule is (duration, K
    weights) a stage, in time order; theta0 has n coordinates. All numbers are exact: int, Fraction, or text
    such as "1/3" and "0.1". Returns n mpf: do arithmetic on them within mp.workdps(digits).
    Sign: X_k are the fields themselves, so descent takes X_k = −∇L_k; weights may be any rationals.
    Accuracy: if Σ|c|·Π(|θ_j| + ρ)^e ≤ M for every coordinate of the field, the solution is analytic and stays
    within ρ for |t| < r = ρ/M, so Taylor coefficient m is at most ρ/rᵐ (Cauchy). Steps are at most r/8, of an
    order that puts each remainder below (1 + max|θ_j|)·10^−digits; the flow's own growth multiplies it.
    Raises CommuteError for floats, shapes that do not fit, durations ≤ 0, and, naming the stage, a flow that
    runs away.

    >>> decay = [{(1,): -1}]
    >>> [theta] = lie_series_flow([decay], [("1/2", [1])], [1])
    >>> with mp.workdps(60):
    ...     bool(abs(theta - mp.exp(mpf(-1) / 2)) < mpf(10) ** -58)
    True
    """
    if digits < 1 or not fields or not theta0:
        raise CommuteError(
            f"digits {digits}, {len(fields)} fields, {len(theta0)} coordinates: give at least one of each"
        )
    start = [_exact(value, "theta0") for value in theta0]
    exact_fields = [_polynomials(field, len(start), k) for k, field in enumerate(fields)]
    order = ceil((digits + 1) * log(10) / log(_SHRINK))  # one digit more, since ρ ≤ 64 (1 + max|θ_j|)
    with mp.workdps(digits + _GUARD_DIGITS):
        theta = [_mpf(value) for value in start]
        for s, (duration, weights) in enumerate(schedule):
            length = _exact(duration, f"duration of stage {s}")
            if length <= 0:
                raise CommuteError(f"stage {s} has duration {length}: give a length > 0")
            theta = _flow(_mixture(exact_fields, weights, s), theta, _mpf(length), order, s)
    with mp.workdps(digits):
        return [+value for value in theta]


def _flow(field: Polynomials, theta: list[mpf], duration: mpf, order: int, stage: int) -> list[mpf]:
    coefficients = [{e: _mpf(c) for e, c in component.items() if c} for component in field]
    remaining = duration
    while remaining > 0:
        radius = _radius(coefficients, theta)
        step = min(remaining, radius / _SHRINK)
        if radius < duration / 10**6:
            raise CommuteError(
                f"the flow of stage {stage} runs away, or is stiff, at {mp.nstr(duration - remaining, 5)} of "
                f"{mp.nstr(duration, 5)}: give a shorter stage"
            )
        theta = [mp.polyval(series[::-1], step) for series in _taylor(coefficients, theta, order)]
        remaining -= step
    return theta


def _radius(field: list[dict[Monomial, mpf]], theta: list[mpf]) -> mpf:
    """The largest ρ/M(ρ) over a grid of ρ: a lower bound of the radius of convergence, inf for X = 0."""
    size = [abs(value) for value in theta]
    best = mpf(0)
    for exponent in range(-6, 7):
        rho = (1 + max(size)) * mpf(2) ** exponent
        bound = max(
            mp.fsum(
                abs(c) * mp.fprod((x + rho) ** p for x, p in zip(size, e, strict=True))
                for e, c in component.items()
            )
            for component in field
        )
        best = max(best, rho / bound) if bound else mp.inf
    return best


def _taylor(field: list[dict[Monomial, mpf]], theta: list[mpf], order: int) -> list[list[mpf]]:
    """Taylor coefficients 0, …, order of each coordinate, by (m + 1)·θ_{m+1} = [X(θ(t))]_m."""
    n = len(theta)
    units = [tuple(int(i == j) for j in range(n)) for i in range(n)]
    products = _products(field, n)
    series: dict[Monomial, list[mpf]] = {(0,) * n: [mpf(1)] + [mpf(0)] * order}
    series |= {unit: [value] for unit, value in zip(units, theta, strict=True)}
    series |= {e: [] for e in products}
    for m in range(order):
        for e, (rest, i) in products.items():
            series[e].append(mp.fdot(series[rest][: m + 1], series[units[i]][m::-1]))
        for unit, component in zip(units, field, strict=True):
            series[unit].append(mp.fdot((c, series[e][m]) for e, c in component.items()) / (m + 1))
    return [series[unit] for unit in units]


def _products(field: list[dict[Monomial, mpf]], n: int) -> dict[Monomial, tuple[Monomial, int]]:
    """Each monomial of degree ≥ 2 as (a monomial of one degree less, the coordinate that multiplies it)."""
    found: dict[Monomial, tuple[Monomial, int]] = {}
    for e in {e for component in field for e in component}:
        while sum(e) >= 2 and e not in found:
            i = next(j for j in range(n) if e[j])
            rest = tuple(p - (j == i) for j, p in enumerate(e))
            found[e] = (rest, i)
            e = rest
    return dict(sorted(found.items(), key=lambda item: sum(item[0])))


def _mixture(fields: list[Polynomials], weights: Sequence[Exact], stage: int) -> Polynomials:
    if len(weights) != len(fields):
        raise CommuteError(
            f"stage {stage} has {len(weights)} weights: give one for each of {len(fields)} fields"
        )
    mixture: Polynomials = [{} for _ in fields[0]]
    for field, weight in zip(fields, weights, strict=True):
        w = _exact(weight, f"weight of stage {stage}")
        for total, component in zip(mixture, field, strict=True):
            for e, c in component.items():
                total[e] = total.get(e, Fraction(0)) + w * c
    return mixture


def _polynomials(field: Field, n: int, k: int) -> Polynomials:
    if len(field) != n:
        raise CommuteError(f"field {k} has {len(field)} coordinates: theta0 has {n}")
    for e in (e for component in field for e in component):
        if len(e) != n or not all(isinstance(p, int) and p >= 0 for p in e):
            raise CommuteError(f"field {k} has exponents {e!r}: give {n} integers ≥ 0")
    return [{e: _exact(c, f"coefficient of field {k}") for e, c in component.items()} for component in field]


def _exact(value: Exact, what: str) -> Fraction:
    if isinstance(value, Rational | str):
        try:
            return Fraction(value)
        except (ValueError, ZeroDivisionError):
            pass
    raise CommuteError(f"{what} is {value!r}: give an exact number, such as 1, Fraction(1, 3) or '0.1'")


def _mpf(value: Fraction) -> mpf:
    return mpf(value.numerator) / value.denominator
