"""Emitted kernels against three ways that know no tree: exact operators, real flows, dense derivatives.

Each check is a function of the kernels under test, so that planted errors can be put in their place.
"""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.autograd.functional import jacobian

from commute_verify.codegen.backends import BACKENDS
from commute_verify.codegen.catalogue import KERNELS
from commute_verify.codegen.emit import function_source
from commute_verify.codegen.formulas import Part, excess_loss
from commute_verify.codegen.primitives import PRIMITIVES, Primitive
from commute_verify.kernels import numpy_kernels, torch_kernels
from commute_verify.symbolic.trees import TARGET, tree
from tests.kernel_oracles import VARIABLES, PolynomialCase, SmoothLosses, arguments, call, signature

NAMES = [kernel.name for kernel in KERNELS]
EXCESSES = [name for name in NAMES if name.startswith("excess")]
EPS = {np.float32: 2.0**-23, np.float64: 2.0**-52}


def loaded(source):
    space = {"np": np, "Array": np.ndarray}
    exec(source, space)
    return space


# --- first way: differential operators on polynomials, exact ----------------------------------------------


def is_exact(kernels, name, case):
    result = call(kernels[name], case.arguments())
    return np.asarray(result, dtype=object).tolist() == case.expected(name)


x, y = VARIABLES
third = sp.Rational(1, 3)
GENERIC = PolynomialCase(
    losses=(x**3 - x * y**2 + y, x * y**3 + 2 * x**2, y**4 / 4 + x**2 * y - x, x**3 * y + y**2 - x * y + x),
    schedule=((1, (third, 2 * third, 0)), (third, (0, third, 2)), (2, (third, 0, -1))),
    reference=((2, (third, third, third)), (1, (0, 1, 2))),
    point=(sp.Rational(1, 2), -2),
)
SAME = replace(GENERIC, reference=GENERIC.schedule)
EQUAL_LOSSES = replace(GENERIC, losses=(x**3 * y,) * 4)
NO_LOSSES = replace(GENERIC, losses=(sp.Integer(0),) * 4)
ONE_DOMAIN = PolynomialCase((x**4 + y, x * y), ((1, (2,)),), ((2, (1,)),), (1, 1))

rationals = st.builds(sp.Rational, st.integers(-3, 3), st.integers(1, 3))
monomials = st.builds(lambda c, a, b: c * x**a * y**b, rationals, st.integers(0, 3), st.integers(0, 3))
polynomials = st.lists(monomials, max_size=3).map(lambda terms: sp.Add(*terms))


@st.composite
def cases(draw):
    K = draw(st.integers(2, 3))
    stage = st.tuples(
        st.builds(sp.Rational, st.integers(1, 3), st.integers(1, 2)), st.tuples(*[rationals] * K)
    )
    stages = st.lists(stage, min_size=1, max_size=2).map(tuple)
    losses = tuple(draw(polynomials) for _ in range(K + 1))
    return PolynomialCase(losses, draw(stages), draw(stages), draw(st.tuples(rationals, rationals)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", [GENERIC, SAME, EQUAL_LOSSES, NO_LOSSES])
def test_kernels_on_fractions_equal_operators_on_polynomials(name, case):
    assert is_exact(vars(numpy_kernels), name, case)  # exact


@given(case=cases())
@example(case=replace(GENERIC, schedule=((1, (0, 0, 0)),)))
def test_every_kernel_equals_operators_on_drawn_polynomials(case):
    for name in NAMES:
        assert is_exact(vars(numpy_kernels), name, case), name  # exact


@pytest.mark.parametrize("name", EXCESSES)
def test_one_domain_alone_has_no_excess_over_equal_totals(name):
    assert is_exact(vars(numpy_kernels), name, ONE_DOMAIN)  # exact
    assert ONE_DOMAIN.expected(name) in (0, [0, 0])  # exact: weight 2 for 1 and weight 1 for 2 flow alike


def test_a_fourth_order_comes_from_three_more_primitives():
    more = (
        Primitive("HLHg", tree(TARGET, tree(1, tree(2))), (1, 2)),
        Primitive("QL", tree(TARGET, tree(1), tree(2), tree(3)), (1, 2, 3)),
        Primitive("Qu_gg", tree(1, tree(TARGET), tree(2), tree(3)), (1, 2, 3)),
    )
    fourth = replace(
        KERNELS[-1], name="excess_loss_4", formula=excess_loss(4), primitives=(*PRIMITIVES, *more)
    )
    third = GENERIC.arguments()
    g, u = third["g"], third["u"]
    D4, target4 = GENERIC.derivatives(4)
    given_arguments = third | {
        "d4": GENERIC.differences(4)[3],
        "HLHg": np.einsum("ab,ijb->ija", GENERIC.derivatives(2)[1], third["Hg"]),
        "QL": np.einsum("abcd,ib,jc,kd->ijka", target4, g, g, g),
        "Qu_gg": np.einsum("kabcd,b,ic,jd->kija", D4, u, g, g),
    }
    kernel = loaded(function_source(fourth, BACKENDS["numpy"]))["excess_loss_4"]
    assert call(kernel, given_arguments) == GENERIC.expected("excess_loss_4")  # exact


# --- planted errors ---------------------------------------------------------------------------------------


def in_part(kernel, position, changed):
    parts = list(kernel.formula.parts)
    parts[position] = changed
    return replace(kernel, formula=replace(kernel.formula, parts=tuple(parts)))


def with_coefficient(part, which, factor):
    changed = {t: c * (factor if i == which else 1) for i, (t, c) in enumerate(part.series.items())}
    return Part(part.letters, {t: c for t, c in changed.items() if c})


def spoiled(kernel):
    """(what is wrong, the kernel with that error in its formula)."""
    for position, part in enumerate(kernel.formula.parts):
        where = f"at depth {position + 1}"
        for which in range(len(part.series)):
            for error, factor in (("sign", -1), ("factor 2", 2), ("factor 1/2", Fraction(1, 2)), ("no", 0)):
                if factor or len(part.series) > 1:
                    changed = with_coefficient(part, which, factor)
                    yield f"{error} term {which} {where}", in_part(kernel, position, changed)
        if len(part.letters) > 1:
            turned, (*rest, j, k) = part.letters[::-1], part.letters
            yield f"order of letters {where}", in_part(kernel, position, Part(turned, part.series))
            yield f"transpose {where}", in_part(kernel, position, Part((*rest, k, j), part.series))


def planted():
    """(name of the kernel, its NumPy source with an error, what is wrong)."""
    for kernel in KERNELS:
        for error, change in spoiled(kernel):
            yield kernel.name, function_source(change, BACKENDS["numpy"]), error
        for d in ("d1", "d2", "d3"):
            source = function_source(kernel, BACKENDS["numpy"])
            if f"{d}: " in source:
                yield kernel.name, source.replace(f'", {d}, ', f'", np.ones_like({d}), '), f"no weight {d}"


PLANTED = [pytest.param(name, source, id=f"{name}: {error}") for name, source, error in planted()]


@cache
def generic_arguments():
    return GENERIC.arguments()


@cache
def generic_expected(name):
    return GENERIC.expected(name)


@pytest.mark.parametrize(("name", "source"), PLANTED)
def test_the_exact_check_rejects_a_planted_error(name, source):
    result = call(loaded(source)[name], generic_arguments())
    assert np.asarray(result, dtype=object).tolist() != generic_expected(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_exact_check_accepts_the_same_source_without_the_error(name):
    kernel = next(kernel for kernel in KERNELS if kernel.name == name)
    result = call(loaded(function_source(kernel, BACKENDS["numpy"]))[name], generic_arguments())
    assert np.asarray(result, dtype=object).tolist() == generic_expected(name)  # exact


# --- second way: real flows, by the order of the error ----------------------------------------------------


LADDER = 0.08 * 2.0 ** -np.arange(4)


@cache
def observed(K, seed, same_totals):
    """Arguments and observed excesses of (θ, target) on a ladder of lengths."""
    rng = np.random.default_rng(seed)
    losses, theta = SmoothLosses.random(K, 4, seed), rng.normal(size=4)
    durations, weights = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(K), size=3)
    mean = durations @ weights if same_totals else rng.dirichlet(np.ones(K)) * 1.3
    dense, target = losses.dense(theta)
    value = losses.torch_loss(K)
    rungs = []
    for h in LADDER:
        differences = [
            s - r
            for s, r in zip(signature(h * durations, weights, 3), signature([h], mean[None], 3), strict=True)
        ]
        end, base = losses.flow(theta, h * durations, weights), losses.flow(theta, [h], mean[None])
        excess = {
            "parameters": end - base,
            "loss": float(value(torch.as_tensor(end)) - value(torch.as_tensor(base))),
        }
        rungs.append((arguments(differences, *dense, *target), excess))
    return rungs


def slope(kernels, name, rungs):
    what = "loss" if "loss" in name else "parameters"
    errors = [np.linalg.norm(call(kernels[name], given) - excess[what]) for given, excess in rungs]
    assert errors[-1] > 1e-12  # above the roundoff floor of flows and of differences of losses, near 1e-14
    return np.log2(errors[-2] / errors[-1])


def has_order(kernels, name, rungs):
    order = int(name[-1])
    return abs(slope(kernels, name, rungs) - (order + 1)) < 0.15  # order: p + 1, neither p nor p + 2


@pytest.mark.parametrize("same_totals", [True, False])
@pytest.mark.parametrize("K", [2, 3, 4, 5])
@pytest.mark.parametrize("name", EXCESSES)
def test_the_error_against_a_real_flow_is_of_the_next_order_and_no_higher(name, K, same_totals):
    assert has_order(vars(numpy_kernels), name, observed(K, 10 + K, same_totals))


@pytest.mark.parametrize(("name", "source"), [p for p in PLANTED if p.values[0] in EXCESSES])
def test_the_order_check_rejects_a_planted_error(name, source):
    kernels = loaded(source)
    assert not all(has_order(kernels, name, observed(K, 10 + K, False)) for K in (3, 4))


# --- third way: dense autograd, and the two libraries against each other ----------------------------------


PAIRWISE = ["lie_bracket", "order_criterion"]


@cache
def dense_pairs(K):
    """Arguments, the two answers from full Jacobians, and κ = ‖H‖ ‖g‖ ‖u‖."""
    losses, theta = SmoothLosses.random(K, 6, K), torch.as_tensor(np.random.default_rng(K).normal(size=6))
    fields = [losses.field(k) for k in range(K + 1)]
    slopes, jacobians = [f(theta).detach() for f in fields], [jacobian(f, theta) for f in fields]
    R = [[jacobians[j] @ slopes[i] - jacobians[i] @ slopes[j] for j in range(K)] for i in range(K)]
    expected = {
        "lie_bracket": R[0][-1].numpy(),
        "order_criterion": np.array([[float(r @ slopes[-1]) for r in row] for row in R]),
    }
    dense, target = losses.dense(theta.detach().numpy())
    size = np.linalg.norm(dense[1]) * np.linalg.norm(dense[0]) * np.linalg.norm(target[0])
    return arguments([], *dense, *target), expected, size


def equals_dense_jacobians(kernels, name, K):
    given_arguments, expected, size = dense_pairs(K)
    error = np.max(np.abs(call(kernels[name], given_arguments) - expected[name]))
    return error <= 8 * EPS[np.float64] * size  # roundoff: κ = ‖H‖ ‖g‖ ‖u‖


@pytest.mark.parametrize("K", [2, 3, 5])
@pytest.mark.parametrize("name", PAIRWISE)
def test_bracket_and_criterion_equal_dense_jacobians(name, K):
    assert equals_dense_jacobians(vars(numpy_kernels), name, K)


@pytest.mark.parametrize(("name", "source"), [p for p in PLANTED if p.values[0] in PAIRWISE])
def test_the_jacobian_check_rejects_a_planted_error(name, source):
    assert not equals_dense_jacobians(loaded(source), name, 3)


SHAPES = {
    "d1": "K", "d2": "KK", "d3": "KKK", "g": "Kn", "u": "n", "Hu": "Kn", "Hg": "KKn", "HHg": "KKKn",
    "Tgg": "KKKn", "HLg": "Kn", "Tu_g": "KKn", "TL": "KKn", "hessian_j_gradient_i": "n",
    "hessian_i_gradient_j": "n",
}  # fmt: skip
RESULTS = {"order_criterion": "KK", "excess_loss_2": "", "excess_loss_3": ""}


def random_arguments(K, n, seed, batches=lambda name: (), dtype=np.float64):
    rng, sizes = np.random.default_rng(seed), {"K": K, "n": n}
    return {
        name: rng.normal(size=(*batches(name), *(sizes[axis] for axis in axes))).astype(dtype)
        for name, axes in SHAPES.items()
    }


def magnitude(name, given_arguments):
    """κ: the same sums with every term and factor made positive."""
    source = function_source(next(kernel for kernel in KERNELS if kernel.name == name), BACKENDS["numpy"])
    positive = loaded(source.replace("= -np", "= np").replace(" - ", " + "))
    return np.max(call(positive[name], {k: np.abs(v).astype(np.float64) for k, v in given_arguments.items()}))


def as_tensors(numbers):
    return {key: torch.from_numpy(value) for key, value in numbers.items()}


def agrees_with_torch(kernels, name, dtype):
    numbers = random_arguments(4, 7, 0, dtype=dtype)
    a = call(kernels[name], numbers)
    b = call(getattr(torch_kernels, name), as_tensors(numbers)).numpy()
    bound = 64 * EPS[dtype] * magnitude(name, numbers)  # roundoff: κ = the sum of absolute terms
    return a.dtype == b.dtype == dtype and np.max(np.abs(a - b)) <= bound


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_numpy_and_torch_agree_to_roundoff_and_keep_the_dtype(name, dtype):
    assert agrees_with_torch(vars(numpy_kernels), name, dtype)


@pytest.mark.parametrize(("name", "source"), PLANTED)
def test_the_torch_check_rejects_a_planted_error_in_numpy(name, source):
    assert not agrees_with_torch(loaded(source), name, np.float64)


def test_the_torch_check_rejects_a_lost_dtype():
    kernel = next(kernel for kernel in KERNELS if kernel.name == "excess_loss_2")
    source = function_source(kernel, BACKENDS["numpy"])
    widened = source.replace("return of_depth_1", "return np.float64(of_depth_1)")
    assert agrees_with_torch(loaded(widened), "excess_loss_2", np.float64)
    assert not agrees_with_torch(loaded(widened), "excess_loss_2", np.float32)


FEWER_AXES = {"d1": (5,), "d2": (5,), "d3": (5,), "u": (3, 1), "Hu": (3, 1)}


def equals_a_loop(batched, name):
    numbers = random_arguments(3, 4, 1, lambda key: FEWER_AXES.get(key, (3, 5)))
    whole = np.asarray(batched(numbers))
    tail = tuple({"K": 3, "n": 4}[axis] for axis in RESULTS.get(name, "n"))
    if whole.shape != (3, 5, *tail):
        return False
    for at in np.ndindex(3, 5):
        one = {
            key: np.broadcast_to(value, (3, 5, *value.shape[len(FEWER_AXES.get(key, (3, 5))) :]))[at]
            for key, value in numbers.items()
        }
        bound = 64 * EPS[np.float64] * magnitude(name, one)  # roundoff: κ = the sum of absolute terms
        if np.max(np.abs(call(getattr(numpy_kernels, name), one) - whole[at])) > bound:
            return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_leading_axes_broadcast_and_equal_a_loop_in_both_libraries(name):
    assert equals_a_loop(lambda numbers: call(getattr(numpy_kernels, name), numbers), name)
    assert equals_a_loop(lambda numbers: call(getattr(torch_kernels, name), as_tensors(numbers)), name)


@pytest.mark.parametrize("name", NAMES)
def test_the_loop_check_rejects_batches_in_another_order_and_of_another_shape(name):
    assert not equals_a_loop(lambda numbers: call(getattr(numpy_kernels, name), numbers)[::-1], name)
    assert not equals_a_loop(lambda numbers: call(getattr(numpy_kernels, name), numbers)[:, :1], name)


def carries_gradients(function, names):
    numbers = random_arguments(2, 3, 2, lambda key: (2,) if key in ("g", "d2") else ())
    tensors = [torch.from_numpy(numbers[key]).requires_grad_() for key in names]
    return torch.autograd.gradcheck(function, tensors, raise_exception=False)


@pytest.mark.parametrize("name", NAMES)
def test_torch_kernels_carry_gradients_to_every_argument(name):
    function = getattr(torch_kernels, name)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    assert carries_gradients(function, names)
    for lost in range(len(names)):

        def detached(*tensors, lost=lost):
            return function(*(t.detach() if i == lost else t for i, t in enumerate(tensors)))

        assert not carries_gradients(detached, names)


@pytest.mark.parametrize("name", NAMES)
def test_torch_kernels_stay_on_the_device_of_their_arguments(name):
    tensors = {k: torch.from_numpy(v).to("meta") for k, v in random_arguments(2, 3, 3).items()}
    assert call(getattr(torch_kernels, name), tensors).device.type == "meta"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lie_bracket"])
def test_another_number_of_parameters_or_domains_is_refused(name):
    numbers = random_arguments(3, 4, 4)
    for g in (np.ones((3, 5)), np.ones((2, 4))):
        wrong = numbers | {"g": g}
        with pytest.raises(ValueError, match="operands"):
            call(getattr(numpy_kernels, name), wrong)
        with pytest.raises(RuntimeError, match=r"operands|size"):
            call(getattr(torch_kernels, name), as_tensors(wrong))
