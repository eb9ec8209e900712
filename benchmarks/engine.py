"""``python benchmarks/engine.py``: the exact engine against plain SymPy, on the same work in the same run.

Peers: SymPy's non-commutative symbols for the Baker–Campbell–Hausdorff series, and ``Matrix.jacobian`` with
``expand`` for the flow of polynomial losses. Timings alternate, medians are quoted, both sides agree.
Writes ``benchmarks/results/engine.json``.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import sympy as sp

from commute_verify.symbolic.expansions import excess, loss_series
from commute_verify.symbolic.fields import Coordinates
from commute_verify.symbolic.schedules import SymbolicSchedule
from commute_verify.symbolic.words import bch

RESULTS = Path(__file__).parent / "results" / "engine.json"
RUNS = 5
Dt, delta, eps = sp.symbols("Dt delta epsilon", positive=True)
x, y = sp.symbols("x y")
LOSSES = (x**3 / 3 + x * y - y, x**2 * y - y**2 / 2)


def order_three_three_domains() -> int:
    swap = SymbolicSchedule.blocks({1: Dt, 2: Dt, 3: Dt})
    return len(excess(swap, swap.straight(), 3, loss_series))


def order_five_two_domains() -> int:
    weights = sp.symbols("w1 w2")
    tilt = SymbolicSchedule.tilt(weights, 1, 2, delta, eps)
    return len(excess(tilt, SymbolicSchedule.constant(weights, 2 * eps), 5, loss_series))


def bch_sympy(degree: int) -> dict[tuple[int, ...], Fraction]:
    """log(exp A exp B) with non-commutative symbols, truncated by a grading symbol."""
    h = sp.Symbol("h")
    A, B = sp.symbols("A B", commutative=False)

    def truncated(expression: sp.Expr) -> sp.Expr:
        terms = sp.Add.make_args(sp.expand(expression))
        return sp.Add(*(term for term in terms if term.as_powers_dict()[h] <= degree))

    def exponential(symbol: sp.Symbol) -> sp.Expr:
        return sum((h**n * symbol**n / sp.factorial(n) for n in range(degree + 1)), sp.Integer(0))

    rest = truncated(exponential(A) * exponential(B)) - 1
    total, power = sp.Integer(0), sp.Integer(1)
    for n in range(1, degree + 1):
        power = truncated(power * rest)
        total += sp.Rational((-1) ** (n + 1), n) * power
    words: dict[tuple[int, ...], Fraction] = {}
    for term in sp.Add.make_args(sp.expand(total.subs(h, 1))):
        number, factors = term.as_coeff_mul()
        letters = [
            {A: 1, B: 2}[base]
            for base, exponent in (f.as_base_exp() for f in factors)
            for _ in range(int(exponent))
        ]
        words[tuple(letters)] = words.get(tuple(letters), Fraction(0)) + Fraction(
            int(number.p), int(number.q)
        )
    return {word: c for word, c in words.items() if c}


def swap_rings(order: int) -> sp.Expr:
    """L1 after the swap, by operators on polynomial rings."""
    space = Coordinates((x, y), (Dt,))
    losses = [space(loss) for loss in LOSSES]
    swap = SymbolicSchedule.blocks({1: Dt, 2: Dt})
    moved = space.along(losses[0], losses, swap, order)
    return sum((space.graded(moved, n).as_expr() for n in range(order + 1)), sp.Integer(0))


def swap_jacobian(order: int) -> sp.Expr:
    """The same with Matrix.jacobian and expand."""
    h = sp.Symbol("h")
    variables = sp.Matrix([x, y])
    fields = [-h * sp.Matrix([loss]).jacobian(variables).T for loss in LOSSES]
    f: sp.Expr = LOSSES[0]
    for field in reversed(fields):
        total, term = f, f
        for n in range(1, order + 1):
            term = sp.expand((sp.Matrix([term]).jacobian(variables) * field)[0] * Dt / n)
            total += term
        f = sum((sp.expand(total).coeff(h, n) * h**n for n in range(order + 1)), sp.Integer(0))
    return sp.expand(f.subs(h, 1))


def median_seconds(*functions: Callable[[], Any]) -> list[float]:
    """Medians over alternating runs, after one that does not count."""
    taken: list[list[float]] = [[] for _ in functions]
    for run in range(RUNS + 1):
        for function, seconds in zip(functions, taken, strict=True):
            started = time.perf_counter()
            function()
            if run:
                seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds) for seconds in taken]


def main() -> None:
    if bch(5) != bch_sympy(5):
        raise SystemExit("the two BCH series differ")
    if sp.expand(swap_rings(4) - swap_jacobian(4)) != 0:
        raise SystemExit("the two flows differ")
    alone = {
        "excess to order 3, 3 domains": (order_three_three_domains, 1.0),
        "excess to order 5, 2 domains, symbolic weights": (order_five_two_domains, 10.0),
        "BCH to degree 8": (lambda: bch(8), 1.0),
    }
    rows: list[dict[str, Any]] = []
    for task, (function, target) in alone.items():
        (seconds,) = median_seconds(function)
        rows.append({"task": task, "seconds": seconds, "target_seconds": target, "met": seconds <= target})
    pairs = {
        ("BCH to degree 5", "SymPy, non-commutative symbols"): (lambda: bch(5), lambda: bch_sympy(5)),
        ("swap to order 4, cubic losses", "SymPy, Matrix.jacobian and expand"): (
            lambda: swap_rings(4),
            lambda: swap_jacobian(4),
        ),
    }
    for (task, peer), functions in pairs.items():
        ours, theirs = median_seconds(*functions)
        rows.append(
            {"task": task, "seconds": ours, "peer": peer, "peer_seconds": theirs, "ratio": theirs / ours}
        )
    provenance = {
        "command": "python benchmarks/engine.py",
        "runs": RUNS,
        "python": platform.python_version(),
        "sympy": sp.__version__,
        "machine": platform.machine(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({"provenance": provenance, "rows": rows}, indent=2) + "\n", encoding="utf-8"
    )
    for row in rows:
        peer = f", {row['peer']} {row['peer_seconds']:.3f} s: {row['ratio']:.0f}×" if "peer" in row else ""
        print(f"{row['task']}: {row['seconds']:.3f} s{peer}")


if __name__ == "__main__":
    main()
