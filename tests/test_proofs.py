"""The proofs as a whole, and the verdicts of the theorems when their printed formulas are changed."""

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import sympy as sp

from commute_verify.errors import CommuteError
from commute_verify.report.mathml import mathml
from commute_verify.symbolic.trees import combine, criterion, tree
from proofs import claims, run
from proofs.claim import Claim, Judgement
from proofs.compare import compare, scaled
from proofs.generators import BEND, COVARIANCE, CURVATURE, THIRD, TWIST

ROOT = Path(__file__).parent.parent
KEYS = {"id", "source", "statement", "verdict", "correction", "reason", "latex"}
REQUIRED = {
    "eq2-euler-limit",
    "gamma-squared",
    "affine-flow",
    "affine-commuting-constant",
    "eq4",
    "eq5",
    "eq6",
    "eq7",
    "eq8",
    "cor3.2b",
    "two-domain-bracket",
    "mode-switch",
    "lbasic",
    "nonmonotone-losses",
    "convergence-to-mixture-optimum",
    "sec4.1-eighth",
    "sec4.1-explicit",
    "d1",
    "d2",
    "eq9-totals",
    "eq10-totals",
    "hvp-cost",
    "overhead-half-percent",
    "table2-signs",
    "table2-convention",
    "table2-sum",
    "table4-caption",
    "cor3.2b-horizon",
    "cor3.2b-proof",
    "eq1-equivalence",
    "d1-remainder",
    "fig4-totals",
    "theta-base",
    "table1-caption",
    "gamma-in-tables",
    "sample-counts",
    "smoothness",
    "levy-area",
    "common-drift",
    "k-hvps",
    "discrete-steps",
    "learning-rate-first-order",
    "order-3",
    "both-orders-order-3",
    "frozen-curvature",
    "frozen-steps",
    "frozen-target",
    "frozen-first-error",
    "frozen-anew",
    "first-variation",
    "costate-bracket",
    "criterion-as-limit",
    "preconditioned-bracket",
    "momentum-shadow",
    "momentum-settled",
    "momentum-memory",
    "momentum-after-tail",
    "momentum-cold-start",
    "second-moments-no-tail",
    "second-moments-lasting",
    "tau-adamw",
    "tau-tail",
    "blocks-linear-ordering",
    "blocks-by-subsets",
    "blocks-pairs-circle",
    "tilt-linear",
    "tilt-value",
    "tilt-switch",
    "noise-terms",
    "noise-domain-sampling",
    "noise-drift",
    "noise-steps",
}

delta, eps = sp.symbols("delta epsilon", positive=True)
n, eta, Dt = sp.symbols("n eta Dt", positive=True)
beta, count = sp.Symbol("beta", positive=True), sp.Symbol("n", positive=True, integer=True)
a, b, steps = sp.symbols("a b n")
v, epsilon = sp.symbols("v epsilon", positive=True)
gamma1, gamma2 = sp.symbols("gamma1 gamma2", positive=True)
t, j = sp.Symbol("t", positive=True), sp.Symbol("j", nonnegative=True, integer=True)
tau = sp.Symbol("tau", positive=True, integer=True)
early, late = sp.symbols("p q", positive=True)
half = sp.Rational(1, 2)
share, batch = sp.symbols("w B", positive=True)
NOISE = {CURVATURE: 1, THIRD: half, COVARIANCE: -half, BEND: half / 2, TWIST: half}
R = {tree(2, tree(1)): 1, tree(1, tree(2)): -1}
WEIGHTED = dict(enumerate(sp.symbols("w1 w2 w3", nonnegative=True), start=1))


def q(numerator, denominator=1):
    return sp.Rational(numerator, denominator)


def test_every_claim_that_was_asked_for_is_there():
    assert set(claims()) >= REQUIRED


@pytest.mark.parametrize("claim_id", claims())
def test_the_derivation_closes_and_its_planted_neighbour_fails(claim_id):
    result = claims()[claim_id].run()
    assert result.defects == ()
    assert set(result.as_dict()) == KEYS
    assert result.judgement.reason


@pytest.mark.parametrize("claim_id", claims())
def test_the_printed_formula_can_be_drawn(claim_id):
    assert "<math" in mathml(claims()[claim_id].latex)


@pytest.mark.parametrize(
    ("claim_id", "verdict", "changed", "becomes"),
    [
        ("eq2-euler-limit", "holds", 1, "false"),
        ("gamma-squared", "holds", 3, "corrected"),
        ("affine-flow", "corrected", -1, "holds"),
        ("affine-flow", "corrected", sp.Rational(1, 2), "false"),
        ("eq5", "holds", scaled(2, R), "corrected"),
        ("eq6", "holds", {tree(2, tree(1)): 1}, "false"),
        ("eq7", "corrected", criterion(1, 2), "holds"),
        ("eq8", "corrected", delta * eps**2, "holds"),
        ("eq8", "corrected", 2 * delta * eps**2, "corrected"),
        ("d2", "corrected", (-1, 1), "holds"),
        ("d1-remainder", "corrected", {(1, 1)}, "holds"),
        ("two-domain-bracket", "holds", {1: 2, 2: -1}, "corrected"),
        ("cor3.2b", "false", ("the costate p(t)", ("w_i", "w_j")), "holds"),
        ("cor3.2b-horizon", "false", "the costate p(t)", "holds"),
        ("mode-switch", "holds", 2, "corrected"),
        ("levy-area", "holds", (-1, 1, 2), "corrected"),
        ("levy-area", "holds", (1, 1, 2), "false"),
        ("common-drift", "holds", criterion(1, 2), "false"),
        ("k-hvps", "holds", (-1, 1), "false"),
        ("discrete-steps", "holds", (n**2 * eta**2 / 2, 0), "false"),
        ("discrete-steps", "holds", (n**2 * eta**2, -n * eta**2 / 2), "corrected"),
        ("learning-rate-first-order", "holds", -(gamma1 - gamma2) * Dt, "corrected"),
        ("order-3", "holds", (q(1, 2), q(0), q(1, 3)), "false"),
        ("order-3", "holds", (q(1), -q(1, 2), q(1, 3)), "false"),
        ("both-orders-order-3", "holds", -(Dt**3) / 12, "corrected"),
        ("frozen-curvature", "holds", (t**j / sp.factorial(j), 0), "false"),
        ("frozen-curvature", "holds", (t**j / sp.factorial(j + 1), 1), "false"),
        ("frozen-steps", "holds", (sp.binomial(t, j) * eta**j * 2, 1), "false"),
        ("frozen-target", "holds", (2, 2), "false"),
        ("frozen-first-error", "holds", {tree(1, tree(1), tree(2)): q(1, 3)}, "false"),
        ("frozen-anew", "holds", -sp.Integer(1) / 6, "corrected"),
        ("frozen-anew", "holds", 1 / (24 * sp.Symbol("m", positive=True, integer=True) ** 2), "corrected"),
        ("first-variation", "holds", (1, 1), "corrected"),
        ("first-variation", "holds", (0, -1), "false"),
        ("costate-bracket", "holds", R, "false"),
        ("criterion-as-limit", "holds", criterion({1: 1, 2: -1}, WEIGHTED), "corrected"),
        ("preconditioned-bracket", "holds", (0, 1, -1), "false"),
        ("preconditioned-bracket", "holds", (1, 1, 1), "false"),
        ("momentum-settled", "holds", sp.Rational(1, 2), "corrected"),
        ("momentum-shadow", "holds", -eta * beta / (1 - beta), "false"),
        ("momentum-memory", "holds", beta ** (tau + 1) * (1 - beta**count) / (1 - beta), "corrected"),
        ("momentum-after-tail", "holds", (count**2 / 2, sp.Integer(0)), "corrected"),
        ("momentum-cold-start", "holds", (count**2, sp.Integer(0)), "false"),
        ("second-moments-no-tail", "holds", q(1, 3), "holds"),
        ("second-moments-lasting", "holds", epsilon * steps * (a - b) ** 3 / (8 * v ** q(3, 2)), "corrected"),
        ("tau-adamw", "holds", ((1, "A", ""), (1, "B", ""), (-1, "B", ""), (-1, "A", "")), "false"),
        ("tau-tail", "holds", "MM", "false"),
        ("smoothness", "holds", (2, "o", 3), "false"),
        ("smoothness", "holds", (3, "O", 3), "holds"),
        ("blocks-linear-ordering", "holds", (1, 1), "corrected"),
        ("blocks-linear-ordering", "holds", (-half, -1), "holds"),
        ("blocks-by-subsets", "holds", lambda cost, before, k: -sum(cost[i, k] for i in before), "holds"),
        ("blocks-by-subsets", "holds", lambda cost, before, k: 2 * sum(cost[i, k] for i in before), "false"),
        ("blocks-pairs-circle", "false", 0, "holds"),
        ("tilt-linear", "holds", (early * late * (early + late), False), "corrected"),
        ("tilt-linear", "holds", (-early * late * (early + late) / 2, False), "corrected"),
        ("tilt-value", "holds", (1, "weighted median"), "false"),
        ("tilt-switch", "holds", Fraction(1, 4), "false"),
        ("noise-terms", "holds", {CURVATURE: 1, THIRD: half, COVARIANCE: -half}, "false"),
        ("noise-terms", "holds", {**NOISE, THIRD: -half}, "false"),
        ("noise-terms", "holds", {**NOISE, TWIST: half / 2}, "false"),
        ("noise-domain-sampling", "holds", share * (1 - share) / (2 * batch), "corrected"),
        ("noise-domain-sampling", "holds", 1 / (4 * batch), "corrected"),
        ("noise-drift", "holds", -q(1), "false"),
        ("noise-steps", "holds", ({CURVATURE: 1, THIRD: half, COVARIANCE: -half}, q(1)), "false"),
    ],
)
def test_a_changed_formula_changes_the_verdict(claim_id, verdict, changed, becomes):
    claim = claims()[claim_id]
    assert claim.judge(claim.printed).verdict == verdict
    assert claim.judge(changed).verdict == becomes


def test_comparison_finds_the_factor_and_the_reading_and_refuses_the_rest():
    doubled = compare(scaled(2, R), {"a": R}, "half of it")
    assert doubled == Judgement("corrected", "a: printed = $2$ × derived", "half of it")
    either = compare(R, {"a": scaled(-1, R), "b": R}, "")
    assert either.verdict == "holds"
    assert "a: printed = $-1$ × derived" in either.reason
    stray = compare(combine((1, R), (1, {tree(1): 1})), {"a": R}, "without g1")
    assert stray.verdict == "false"


@pytest.mark.parametrize(
    ("change", "defect"),
    [
        ({"planted": sp.Integer(2)}, "planted neighbour passes"),
        ({"right": sp.Integer(3)}, "corrected data are not judged to hold"),
        ({"printed": sp.Integer(4), "right": None}, "corrected data are not given"),
    ],
)
def test_a_proof_that_does_not_close_says_so(change, defect):
    def judge(printed):
        return compare({"": printed}, {"": {"": sp.Integer(2)}}, "it is 2")

    sound = Claim("two", "nowhere", "it is two", "2", sp.Integer(2), sp.Integer(5), judge)
    assert sound.run().defects == ()
    assert any(defect in found for found in replace(sound, **change).run().defects)


def test_a_derivation_that_breaks_off_is_a_defect_and_not_a_crash():
    def judge(printed):
        raise ArithmeticError("two ways differ")

    result = Claim("two", "nowhere", "it is two", "2", 2, 5, judge).run()
    assert result.verdict == "undetermined"
    assert "two ways differ" in result.defects[0]


def test_an_unknown_id_is_one_clear_error():
    with pytest.raises(CommuteError, match=r"no claim is called eq99; the ids are .*eq8"):
        run(["eq99"])


def run_command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "proofs", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_command_prints_json_and_exits_with_zero_only_if_all_closes():
    done = run_command("--json", "eq7", "eq8")
    printed = json.loads(done.stdout)
    assert done.returncode == 0
    assert printed["ok"] is True
    assert [set(row) for row in printed["claims"]] == [KEYS, KEYS]
    assert [row["verdict"] for row in printed["claims"]] == ["corrected", "corrected"]
    unknown = run_command("eq99")
    assert unknown.returncode == 2
    assert unknown.stderr.count("\n") == 1
