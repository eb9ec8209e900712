"""Coordinate functions of SymPy losses against 40-digit lambdify, dense autograd, and each other."""

import math
import re

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.autograd.functional import hessian

from commute_verify.codegen import coordinate_functions, coordinate_source
from commute_verify.codegen.backends import BACKENDS
from commute_verify.codegen.scalars import ScalarPrinter, number
from commute_verify.errors import CommuteError
from commute_verify.symbolic.trees import combine

x, y, z = sp.symbols("x y z")
EPS64, EPS32 = 2.0**-52, 2.0**-23


# --- dense autograd: losses written once in SymPy and once in Torch, 1.2 < x, y < 2 -----------------------

SYMBOLIC = {
    "en": sp.exp(-x * y) / 3 + sp.sqrt(1 + x**2) * sp.sin(y),
    "ru": sp.log(1 + y**2) * x - 1 / (2 + sp.cos(x)) + sp.atan(x - y) ** 3,
    "code": sp.tanh(x * y - 2) * sp.cosh(y)
    + sp.Rational(2, 7) * x**4
    - sp.pi * (1 + y**2) ** sp.Rational(5, 4),
}
TARGET_LOSS = sp.sinh(x / y) + sp.tan(x / 4) * 2**y - sp.Float("0.1") * x * y**2


def en(t):
    return torch.exp(-t[0] * t[1]) / 3 + torch.sqrt(1 + t[0] ** 2) * torch.sin(t[1])


def ru(t):
    return torch.log1p(t[1] ** 2) * t[0] - 1 / (2 + torch.cos(t[0])) + torch.atan(t[0] - t[1]) ** 3


def code(t):
    return (
        torch.tanh(t[0] * t[1] - 2) * torch.cosh(t[1]) + 2 * t[0] ** 4 / 7 - math.pi * (1 + t[1] ** 2) ** 1.25
    )


def target_loss(t):
    return torch.sinh(t[0] / t[1]) + torch.tan(t[0] / 4) * 2 ** t[1] - 0.1 * t[0] * t[1] ** 2


TORCH = {"en": en, "ru": ru, "code": code}
POINTS = np.random.default_rng(0).uniform(1.2, 2.0, (6, 2))
DIRECTIONS = np.random.default_rng(1).normal(size=(6, 2))
PAIRS = [(i, j) for i in SYMBOLIC for j in SYMBOLIC]


def dense(loss, point):
    t = torch.tensor(point, requires_grad=True)
    return torch.autograd.grad(loss(t), t)[0].numpy(), hessian(loss, t).numpy()


def as_numpy(value):
    return value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def agrees_with_autograd(backend):
    functions = coordinate_functions(SYMBOLIC, [x, y], TARGET_LOSS, backend=backend)
    array = torch.tensor if backend == "torch" else np.array
    for point, v in zip(POINTS, DIRECTIONS, strict=True):
        theta, direction = array(point), array(v)
        slopes, curvatures = {}, {}
        for name, loss in TORCH.items():
            slopes[name], curvatures[name] = dense(loss, point)
        u = dense(target_loss, point)[0]
        size = max(np.linalg.norm(g) for g in [u, *slopes.values()])
        bound = 64 * EPS64 * size**2 * max(np.linalg.norm(H) for H in curvatures.values())
        checks = []
        for name in TORCH:
            checks.append((functions.gradient(name, theta), slopes[name]))
            checks.append((functions.hvp(name, theta, direction), curvatures[name] @ v))
        for i, j in PAIRS:
            R = curvatures[j] @ slopes[i] - curvatures[i] @ slopes[j]
            checks.append((functions.bracket(i, j, theta), R))
            checks.append((functions.P(i, j, theta), R @ u))
        if any(np.max(np.abs(as_numpy(a) - b)) > bound for a, b in checks):  # roundoff: κ = ‖g‖² ‖H‖
            return False
    return True


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_four_functions_agree_with_dense_autograd(backend):
    assert agrees_with_autograd(backend)


def some(series, change):
    return combine(*(change(position, t, c) for position, (t, c) in enumerate(series.items())))


PLANTED_SERIES = {
    "sign": lambda series: some(series, lambda p, t, c: (-c, {t: 1})),
    "sign of one term": lambda series: some(series, lambda p, t, c: (c * (-1) ** p, {t: 1})),
    "factor 1/2": lambda series: some(series, lambda p, t, c: (sp.Rational(c, 2), {t: 1})),
    "a missing term": lambda series: some(series, lambda p, t, c: (c * p, {t: 1})),
}


@pytest.mark.parametrize("error", PLANTED_SERIES)
@pytest.mark.parametrize("what", ["lie_bracket", "criterion"])
def test_the_autograd_check_rejects_a_planted_error_in_the_series(monkeypatch, what, error):
    right = getattr(coordinate_source, what)
    monkeypatch.setattr(coordinate_source, what, lambda i, j: PLANTED_SERIES[error](right(i, j)))
    assert not agrees_with_autograd("numpy")


@pytest.mark.parametrize("what", ["lie_bracket", "criterion"])
def test_the_autograd_check_rejects_domains_in_the_other_order(monkeypatch, what):
    right = getattr(coordinate_source, what)
    monkeypatch.setattr(coordinate_source, what, lambda i, j: right(j, i))
    assert not agrees_with_autograd("numpy")


PLANTED_PRINTING = {
    "a sign in sums": ("_sum", lambda text: text.replace(" - ", " + ", 1)),
    "numerator for denominator": ("_product", lambda signed: (signed[0], signed[1].replace(" / ", " * ", 1))),
    "a lost sign": ("_product", lambda signed: (False, signed[1])),
    "a lost coefficient": ("_product", lambda signed: (signed[0], re.sub(r"^\d[\d.]* \* ", "", signed[1]))),
}


@pytest.mark.parametrize("error", PLANTED_PRINTING)
def test_the_autograd_check_rejects_a_planted_error_in_the_printer(monkeypatch, error):
    method, spoil = PLANTED_PRINTING[error]
    right = getattr(ScalarPrinter, method)
    monkeypatch.setattr(ScalarPrinter, method, lambda self, e: spoil(right(self, e)))
    assert not agrees_with_autograd("numpy")


def test_the_autograd_check_rejects_a_transposed_derivative(monkeypatch):
    right = coordinate_source.CoordinateTrees.along
    monkeypatch.setattr(
        coordinate_source.CoordinateTrees,
        "along",
        lambda self, f, *fields: right(self, f, *(field[::-1] for field in fields)),
    )
    assert not agrees_with_autograd("numpy")


# --- 40-digit lambdify ------------------------------------------------------------------------------------


def forty_digits(loss, at):
    """Gradient and Hessian at a point, each with the sums of the absolute values of its terms."""
    entries = [sp.diff(loss, s) for s in (x, y)] + [sp.diff(loss, s, r) for s in (x, y) for r in (x, y)]
    terms = [sp.Add.make_args(entry) for entry in entries]
    values = sp.lambdify([x, y], terms, "mpmath")(*map(mpmath.mpf, at))
    exact = [mpmath.fsum(parts) for parts in values]
    sizes = [mpmath.fsum(map(abs, parts)) for parts in values]
    return [(mpmath.matrix(part[:2]), mpmath.matrix([part[2:4], part[4:]])) for part in (exact, sizes)]


def agrees_with_lambdify(functions, losses, target, at):
    theta, v = np.array(at), mpmath.matrix([2, -3])
    i, j = losses
    with mpmath.workdps(40):
        (gi, Hi), (gi_size, Hi_size) = forty_digits(losses[i], at)
        (gj, Hj), (gj_size, Hj_size) = forty_digits(losses[j], at)
        (u, _), (u_size, _) = forty_digits(target, at)
        R, R_size = Hj * gi - Hi * gj, Hj_size * gi_size + Hi_size * gj_size
        triples = [
            (functions.gradient(i, theta), gi, gi_size),
            (functions.hvp(j, theta, np.array([2.0, -3.0])), Hj * v, Hj_size * mpmath.matrix([2, 3])),
            (functions.bracket(i, j, theta), R, R_size),
            ([functions.P(i, j, theta)], R.T * u, R_size.T * u_size),
        ]
        return all(
            abs(float(c) - value) <= 256 * EPS64 * (1 + size)  # roundoff: κ = 1 + the sum of absolute terms
            for computed, values, sizes in triples
            for c, value, size in zip(computed, values, sizes, strict=True)
        )


coefficients = st.builds(sp.Rational, st.integers(-3, 3), st.integers(1, 3))
inner = st.builds(lambda a, b, c: a * x + b * y + c, coefficients, coefficients, coefficients)
pieces = st.one_of(
    st.builds(lambda c, a, b: c * x**a * y**b, coefficients, st.integers(0, 3), st.integers(0, 3)),
    st.builds(
        lambda c, f, e: c * f(e), coefficients, st.sampled_from([sp.sin, sp.cos, sp.tanh, sp.atan]), inner
    ),
    st.builds(lambda c, e: c * sp.exp(e / 4), coefficients, inner),
    st.builds(lambda c, e: c * sp.log(1 + e**2), coefficients, inner),
    st.builds(
        lambda c, e, p: c * (1 + e**2) ** sp.Rational(p, 2), coefficients, inner, st.sampled_from([-3, -2, 1])
    ),
)
expressions = st.lists(pieces, max_size=3).map(lambda terms: sp.Add(*terms))
coordinates = st.integers(-8, 8).map(lambda k: k / 8)


@given(a=expressions, b=expressions, target=expressions, at=st.tuples(coordinates, coordinates))
@example(a=x**2 * y, b=x**2 * y, target=x, at=(1.0, 2.0))
@example(a=x**2 / 2, b=y**2 / 2, target=x * y, at=(0.5, 0.5))
@example(a=sp.Integer(0), b=sp.Integer(3), target=sp.Integer(0), at=(0.0, 0.0))
@example(a=-x, b=x + y - sp.Rational(1, 3), target=-2 * (x + y), at=(0.0, 0.0))
def test_drawn_losses_agree_with_forty_digit_lambdify(a, b, target, at):
    losses = {"a": a, "b": b}
    functions = coordinate_functions(losses, [x, y], target)
    assert agrees_with_lambdify(functions, losses, target, at)


@pytest.mark.parametrize("wrong", [2 * x**3 - x * y, x**3 + x * y, (x**3 - x * y) / 2, y**3 - x * y])
def test_the_lambdify_check_rejects_another_loss(wrong):
    right = {"a": x**3 - x * y, "b": x * y**2 + y}
    functions = coordinate_functions(right | {"a": wrong}, [x, y], x + y)
    assert not agrees_with_lambdify(functions, right, x + y, (0.5, -2.0))


# --- shapes, dtypes, devices, gradients -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_and_torch_agree_to_roundoff_and_keep_dtype_and_batches(dtype):
    eps = EPS32 if dtype == np.float32 else EPS64
    both = [coordinate_functions(SYMBOLIC, [x, y], TARGET_LOSS, backend=backend) for backend in BACKENDS]
    theta = POINTS.reshape(3, 2, 2).astype(dtype)
    v = DIRECTIONS[:2].astype(dtype)
    size = np.max(np.abs(both[0].bracket("en", "code", POINTS))) ** 2
    for method, names, points, shape in [
        ("gradient", ["ru"], [theta], (3, 2, 2)),
        ("hvp", ["code"], [theta, v], (3, 2, 2)),
        ("bracket", ["en", "code"], [theta], (3, 2, 2)),
        ("P", ["ru", "en"], [theta], (3, 2)),
    ]:
        a = getattr(both[0], method)(*names, *points)
        b = getattr(both[1], method)(*names, *map(torch.from_numpy, points))
        assert a.dtype == dtype
        assert b.numpy().dtype == dtype
        assert a.shape == tuple(b.shape) == shape
        assert np.max(np.abs(a - b.numpy())) <= 64 * eps * size  # roundoff: κ = ‖R‖²


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives_that_are_constant_have_the_shape_and_dtype_of_theta(backend):
    functions = coordinate_functions({"a": x + 2 * y, "b": x**2 + 1}, [x, y], y, backend=backend)
    ones = np.ones((4, 1, 2), np.float32)
    theta = torch.from_numpy(ones) if backend == "torch" else ones
    v = theta[:, 0]
    assert as_numpy(functions.gradient("a", theta)).tolist() == [[[1.0, 2.0]]] * 4
    assert tuple(functions.hvp("b", theta, v).shape) == (4, 4, 2)
    assert functions.hvp("a", theta, v).dtype == functions.bracket("a", "b", theta).dtype == theta.dtype
    assert as_numpy(functions.P("b", "b", theta)).tolist() == [[0.0]] * 4


def test_torch_functions_carry_gradients():
    functions = coordinate_functions(SYMBOLIC, [x, y], TARGET_LOSS, backend="torch")
    theta = torch.tensor(POINTS[:2], requires_grad=True)
    v = torch.tensor(DIRECTIONS[:2], requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: functions.gradient("ru", t), theta)
    assert torch.autograd.gradcheck(lambda t, w: functions.hvp("en", t, w), (theta, v))
    assert torch.autograd.gradcheck(lambda t: functions.bracket("en", "ru", t), theta)
    assert torch.autograd.gradcheck(lambda t: functions.P("code", "ru", t), theta)


def test_torch_functions_stay_on_the_device_of_theta():
    functions = coordinate_functions(SYMBOLIC, [x, y], TARGET_LOSS, backend="torch")
    assert functions.bracket("en", "ru", torch.ones(5, 2, device="meta")).device.type == "meta"


def test_the_bracket_of_a_pair_is_antisymmetric_and_of_a_loss_with_itself_is_zero():
    functions = coordinate_functions(SYMBOLIC, [x, y], TARGET_LOSS)
    for i, j in PAIRS:
        assert (functions.bracket(i, j, POINTS) == -functions.bracket(j, i, POINTS)).all()  # exact
        assert (functions.P(i, j, POINTS) == -functions.P(j, i, POINTS)).all()  # exact
    assert (functions.bracket("en", "en", POINTS) == 0).all()  # exact


@pytest.mark.parametrize("n", [1, 5])
def test_any_number_of_variables_will_do(n):
    variables = sp.symbols(f"w:{n}")
    functions = coordinate_functions({"only": sum(w**2 for w in variables)}, variables)
    assert functions.gradient("only", np.arange(float(n))).tolist() == [2.0 * k for k in range(n)]


# --- what reaches the source ------------------------------------------------------------------------------


def test_names_and_symbols_of_the_user_never_reach_the_source():
    evil = sp.Symbol('__import__("os").system("exit 1")')
    functions = coordinate_functions({'x"""\nraise SystemExit': evil**2, "np": sp.exp(evil)}, [evil], evil)
    assert "import(" not in functions.source
    assert "SystemExit" not in functions.source
    assert functions.gradient("np", np.array([0.0])).tolist() == [1.0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_source_is_a_module_of_its_own_and_the_same_every_time(backend):
    first, second = (
        coordinate_functions(SYMBOLIC, [x, y], TARGET_LOSS, backend=backend).source for _ in range(2)
    )
    assert first == second
    module = {}
    exec(compile(first, "saved", "exec"), module)
    assert {"gradient_0", "hvp_2", "bracket_0_2", "criterion_1_2"} < set(module)


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        (sp.Integer(3), 3.0),
        (sp.Rational(1, 3), 1 / 3),
        (sp.Rational(-22, 7), -22 / 7),
        (sp.Integer(10) ** 22 + 1, 1e22),
        (sp.Float(0.1), 0.1),
        (sp.Float(5e-324), 5e-324),
        (sp.Float("0.1", 40), 0.1),
        (sp.pi, math.pi),
        (sp.E, math.e),
        (sp.sqrt(2), math.sqrt(2)),
        (sp.log(2), math.log(2)),
    ],
)
def test_constants_print_so_that_they_round_trip(constant, value):
    printed = ScalarPrinter({}, BACKENDS["numpy"])(constant)
    assert float(printed) == value == number(constant)  # exact


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (x - (y - 1), "1.0 + x0 - x1"),
        (-((x - y) ** 2), "-(x0 - x1)**2"),
        (x / (y * 2), "0.5 * x0 / x1"),
        (sp.exp(-x) ** -2, "np.exp(2.0 * x0)"),
        ((x**2) ** sp.Rational(3, 2), "(x0**2)**1.5"),
        (2 ** (x + y), "2.0**(x0 + x1)"),
        (x * (1 - sp.sqrt(2)), "x0 * (1.0 - 1.4142135623730951)"),
        (1 / sp.sqrt(x), "1.0 / np.sqrt(x0)"),
    ],
)
def test_precedence_is_kept(expression, text):
    printed = ScalarPrinter({x: "x0", y: "x1"}, BACKENDS["numpy"])(expression)
    at = {"x0": 0.3, "x1": 1.7, "np": np}
    exact = float(expression.subs({x: sp.Rational(3, 10), y: sp.Rational(17, 10)}).evalf(30))
    assert abs(eval(printed, at) - exact) <= 16 * EPS64 * (1 + abs(exact))  # roundoff: κ = 1 + |value|
    if "sqrt(2)" not in str(expression):
        assert printed == text


# --- refusals ---------------------------------------------------------------------------------------------

f = sp.Function("f")


@pytest.mark.parametrize(
    ("loss", "named"),
    [
        (sp.Abs(x), "Abs in Abs(x)"),
        (sp.sqrt((x - 1) ** 2), "Abs in Abs(x - 1)"),
        (sp.sqrt(x**2 - 2 * x + 1), "Abs in sqrt(x**2 - 2*x + 1) = Abs(x - 1)"),
        (sp.sqrt(x**2 - 2.0 * x + 1), "Abs in sqrt(x**2 - 2.0*x + 1) = "),
        (sp.exp(y * sp.sqrt(x**2 + 2 * x * y + y**2)), " = Abs(x + y)"),
        (1 / sp.sqrt(sp.sin(x) ** 2 + 2 * sp.sin(x) + 1), " = 1/Abs(sin(x) + 1)"),
        (sp.exp(sp.log(x**2 - 2 * x + 1) / 2), " = Abs(x - 1)"),
        (x ** sp.Rational(1, 3), "Pow in x**(1/3), not smooth where x vanishes"),
        (sp.sqrt(x**2 + y**2), "Pow in sqrt(x**2 + y**2), not smooth where x**2 + y**2 vanishes"),
        (sp.sqrt(x), "Pow in sqrt(x)"),
        (x**0.5, "Pow in x**0.5"),
        (x**sp.pi, "Pow in x**pi"),
        (sp.sqrt(x - 1) ** 3, "Pow in (x - 1)**(3/2)"),
        (1 / sp.sqrt(x**2 + y**2), "Pow in 1/sqrt(x**2 + y**2)"),
        (sp.sqrt(2 + x), "Pow in sqrt(x + 2)"),
        (x + sp.Max(x, y), "Max in"),
        (sp.Min(x, y), "Min in"),
        (sp.Piecewise((x, x < 0), (y, True)), "Piecewise in"),
        (sp.sign(x), "sign in"),
        (sp.floor(x) * y, "floor in"),
        (sp.ceiling(x), "ceiling in"),
        (sp.Mod(x, 2), "Mod in"),
        (sp.Heaviside(x), "Heaviside in"),
        (sp.DiracDelta(x), "DiracDelta in"),
        (sp.Derivative(f(x), x), "Derivative in"),
        (sp.Integral(sp.exp(-(x**2)), x), "Integral in"),
        (f(x), "f in f(x)"),
        (sp.gamma(x), "gamma in"),
        (sp.zeta(3) * x, "zeta in"),
        (sp.I * x, "ImaginaryUnit in I"),
        (sp.sqrt(-2) * x, "ImaginaryUnit in I"),
        (sp.log(-2) * x, "ImaginaryUnit in I"),
        (sp.conjugate(sp.Symbol("c", complex=True)), "Symbol('c', complex=True)"),
        (x**y, "Pow in x**y"),
        ((-2) ** x, "Pow in (-2)**x"),
        ((1 - x) ** y, "Pow in (1 - x)**y"),
        (x * sp.oo, "Infinity in oo"),
        (sp.nan, "NaN in nan"),
        (sp.zoo, "ComplexInfinity in zoo"),
        (sp.Integer(10) ** 400 * x, "is out of the range of float64"),
        (sp.Float("1e-400") * x, "is out of the range of float64"),
        (x < y, "of type StrictLessThan"),
        (sp.true, "of type BooleanTrue"),
        ("x**2", "'x**2' of type str"),
        ("__import__('os').system('exit 1')", "of type str"),
        (3, "3 of type int"),
        (None, "None of type NoneType"),
        (sp.Matrix([x]), "of type MutableDenseMatrix"),
        (sp.IndexedBase("b")[0], "depends on Indexed("),
        (sp.MatrixSymbol("A", 2, 2)[0, 0], "depends on MatrixSymbol("),
        (x * z, "depends on Symbol('z'), and the variables are Symbol('x'), Symbol('y')"),
        (sp.Symbol("x", real=True), "depends on Symbol('x', real=True)"),
    ],
)
def test_a_loss_or_target_that_cannot_be_printed_is_refused_by_name(loss, named):
    with pytest.raises(CommuteError) as refusal:
        coordinate_functions({"fine": x * y, "bad": loss}, [x, y])
    assert str(refusal.value).startswith("loss 'bad'")
    assert named in str(refusal.value)
    if loss is not None:
        with pytest.raises(CommuteError, match="the target") as refusal:
            coordinate_functions({"fine": x * y}, [x, y], loss)
        assert named in str(refusal.value)


@pytest.mark.parametrize(
    "loss",
    [
        sp.sqrt(1 + x**2 + y**2),
        sp.sqrt(1 + (x - y) ** 2),
        (x**2 * y**2 + 2 * x * y + 1 + x**2) ** 2,
        sp.sqrt(x**4 + 2 * x**2 + 1),
        sp.sqrt(sp.exp(x * y) + y**2),
        (2 + sp.tanh(x) ** 2) ** sp.Rational(-3, 2),
        sp.sqrt(2) * x,
        x**2.0 + y**-1,
        sp.log(x),
    ],
)
def test_powers_of_a_base_that_is_seen_to_be_positive_and_whole_powers_are_accepted(loss):
    assert coordinate_functions({"fine": loss}, [x, y]).names == ("fine",)


def test_a_fractional_power_of_a_positive_symbol_is_taken_at_its_word():
    p = sp.Symbol("p", positive=True)
    functions = coordinate_functions({"root": sp.sqrt(p)}, [p])
    assert functions.gradient("root", np.array([4.0])).tolist() == [0.25]  # exact


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ([], "give a list of SymPy symbols"),
        (x, "give a list of SymPy symbols"),
        (None, "give a list of SymPy symbols"),
        (["x"], "variable 'x' is of type str"),
        ([x, y, x], "repeat a name"),
        ([x, sp.Symbol("x", real=True)], "repeat a name"),
        ([sp.Symbol("c", complex=True)], "Symbol('c', complex=True) is not a real number"),
        ([sp.Symbol("c", real=False)], "is not a real number"),
        ([sp.Symbol("c", imaginary=True)], "is not a real number"),
        ([sp.Symbol("c", commutative=False)], "is not a real number"),
    ],
)
def test_variables_that_are_not_distinct_real_symbols_are_refused(variables, message):
    with pytest.raises(CommuteError, match=re.escape(message)):
        coordinate_functions({"a": sp.Integer(1)}, variables)


@pytest.mark.parametrize("losses", [{}, None, [x], {1: x}, {"": x}])
def test_losses_that_are_empty_or_unnamed_are_refused(losses):
    with pytest.raises(CommuteError, match="losses are"):
        coordinate_functions(losses, [x])


def test_an_unknown_backend_is_refused():
    with pytest.raises(CommuteError, match=r"backend 'jax': give one of \['numpy', 'torch'\]"):
        coordinate_functions({"a": x}, [x], backend="jax")


def test_an_unknown_loss_and_a_missing_target_are_refused():
    functions = coordinate_functions({"a": x, "b": x**2}, [x])
    with pytest.raises(CommuteError, match=r"loss 'c': the losses are \['a', 'b'\]"):
        functions.bracket("a", "c", np.ones(1))
    with pytest.raises(CommuteError, match="P without a target"):
        functions.P("a", "b", np.ones(1))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "wrong", [[1.0, 2.0], np.ones(3), np.array(1.0), np.ones(2, int), np.ones(2, complex), "x"]
)
def test_points_of_another_shape_or_type_are_refused(backend, wrong):
    functions = coordinate_functions({"a": x * y}, [x, y], backend=backend)
    point = torch.from_numpy(wrong) if backend == "torch" and isinstance(wrong, np.ndarray) else wrong
    with pytest.raises(CommuteError, match=f"give {BACKENDS[backend].title} floats of shape"):
        functions.gradient("a", point)
