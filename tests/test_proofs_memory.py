"""What the optimizers' memory does to a swap, as the proofs hold it, against optimizers that run.

Momentum runs on random quadratics in 50 digits; Adam is PyTorch's own, in float64.
"""

from fractions import Fraction
from importlib import import_module

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mpmath import mp

from proofs import claims

momentum = import_module("proofs.27_momentum")
second_moments = import_module("proofs.28_second_moments")
memory = import_module("proofs.29_optimizer_memory")

FEW = settings(max_examples=8)
small, fractions = st.integers(-3, 3), st.builds(Fraction, st.integers(-4, 4), st.integers(1, 3))
vectors = st.lists(small, min_size=2, max_size=2).map(sp.Matrix)
symmetric = st.lists(small, min_size=3, max_size=3).map(lambda e: sp.Matrix([[e[0], e[1]], [e[1], e[2]]]))
betas = st.sampled_from(["1/2", "3/10", "7/10"]).map(sp.Rational)


def printed(claim_id):
    return claims()[claim_id].printed


def planted(claim_id):
    return claims()[claim_id].planted


# --- momentum


def trained(hessians, gradients, order, eta, beta, start):
    """θ − θ₀ by m ← βm + (1−β)g and θ ← θ − ηm on quadratics; "1", "2", and "0" for the mixture."""
    hessians = [sum(hessians, sp.zeros(2)) / 2, *hessians]
    gradients = [sum(gradients, sp.zeros(2, 1)) / 2, *gradients]
    H, g = [mp.matrix(h.tolist()) for h in hessians], [mp.matrix(v.tolist()) for v in gradients]
    theta, m, beta = mp.matrix(2, 1), mp.matrix(start.tolist()), mp.mpf(beta.p) / beta.q
    for domain in map(int, order):
        m = beta * m + (1 - beta) * (g[domain] + H[domain] * theta)
        theta = theta - eta * m
    return theta


def order_in_eta(predicted, problem, n, tau, beta, start):
    """The order in η of θ_12 − θ_21 less the prediction (powers of η to vectors); infinite if it is 0."""
    with mp.workdps(50):
        left = []
        for eta in (mp.mpf(10) ** -6, mp.mpf(10) ** -7):
            runs = ("1" * n + "2" * n, "2" * n + "1" * n)
            ends = [trained(*problem, order + "0" * tau, eta, beta, start) for order in runs]
            gap = ends[0] - ends[1]
            for power, vector in predicted.items():
                gap -= eta**power * mp.matrix([mp.mpf(c.p) / c.q for c in vector])
            left.append(mp.norm(gap))
        return mp.inf if left[1] < mp.mpf(10) ** -45 else mp.log10(left[0] / left[1])


def at_first_order(data, gradients, n, tau, beta):
    factor = data.subs({momentum.n: n, momentum.tau: tau, momentum.beta: beta})
    return {1: -factor * (gradients[0] - gradients[1])}


def at_second_order(data, hessians, gradients, n, beta):
    a, b = (sp.sympify(c).subs({momentum.n: n, momentum.beta: beta}) for c in data)
    (H1, H2), (g1, g2) = hessians, gradients
    return {2: a * (H2 * g1 - H1 * g2) + b * (H1 * g1 - H2 * g2)}


pairs = st.tuples(st.tuples(symmetric, symmetric), st.tuples(vectors, vectors))
ROUGH = ((sp.Matrix([[1, 2], [2, -1]]), sp.Matrix([[3, 0], [0, 1]])), (sp.Matrix([1, 2]), sp.Matrix([-1, 3])))
LONG = 150  # steps after which β^τ is below 1e-20 for the β tried


@given(pairs, st.integers(1, 4), st.integers(0, 4), betas, vectors)
@FEW
def test_momentum_moves_a_swap_at_first_order_by_what_a_tail_forgets(problem, n, tau, beta, start):
    predicted = at_first_order(printed("momentum-memory"), problem[1], n, tau, beta)
    assert order_in_eta(predicted, problem, n, tau, beta, start) > 1.99  # order


@pytest.mark.parametrize(("data", "p"), [(printed, 2), (planted, 1)])
def test_a_wrong_share_of_the_first_moment_is_seen(data, p):
    predicted = at_first_order(data("momentum-memory"), ROUGH[1], 3, 2, sp.Rational(1, 2))
    slope = order_in_eta(predicted, ROUGH, 3, 2, sp.Rational(1, 2), sp.Matrix([1, 0]))
    assert abs(slope - p) < 0.01  # order


STARTS = {"momentum-after-tail": lambda g: (g[0] + g[1]) / 2, "momentum-cold-start": lambda g: sp.zeros(2, 1)}


@pytest.mark.parametrize("claim_id", STARTS)
@given(pairs, st.integers(1, 3), betas)
@settings(max_examples=4)
def test_after_a_long_tail_the_bracket_is_left(claim_id, problem, n, beta):
    predicted = at_second_order(printed(claim_id), *problem, n, beta)
    assert order_in_eta(predicted, problem, n, LONG, beta, STARTS[claim_id](problem[1])) > 2.98  # order


@pytest.mark.parametrize("claim_id", STARTS)
@pytest.mark.parametrize(("data", "p"), [(printed, 3), (planted, 2)])
def test_another_remainder_after_the_tail_is_seen(claim_id, data, p):
    beta = sp.Rational(1, 2)
    predicted = at_second_order(data(claim_id), *ROUGH, 2, beta)
    slope = order_in_eta(predicted, ROUGH, 2, LONG, beta, STARTS[claim_id](ROUGH[1]))
    assert abs(slope - p) < 0.02  # order


@given(st.lists(fractions, min_size=4, max_size=4), st.integers(1, 9), st.integers(1, 9))
def test_the_shadow_of_momentum_moves_by_plain_steps(numbers, tenths, size):
    theta, m, curvature, center = numbers
    beta, eta = Fraction(tenths, 10), Fraction(size, 7)
    factor = printed("momentum-shadow").subs(
        {momentum.beta: sp.Rational(tenths, 10), momentum.eta: sp.Rational(size, 7)}
    )
    ahead = Fraction(factor.p, factor.q)
    for _ in range(4):
        g, before = curvature * (theta - center), theta - ahead * m
        m = beta * m + (1 - beta) * g
        theta = theta - eta * m
        assert theta - ahead * m == before - eta * g  # exact


def left_by_a_settled_step(c, beta, sizes):
    """How the distance of log r from −ε − cε² falls: the slope over ε, with r from the recursion itself."""
    off = []
    for size in sizes:
        step = np.array(
            [[1 - (1 - beta) * size, -beta], [(1 - beta) * size, beta]]
        )  # of (θ, m) with λ = η = 1
        settled = np.log(np.abs(np.linalg.eigvals(step)).max())
        off.append(abs(settled + size + c * size**2))
    return np.log(off[0] / off[1]) / np.log(sizes[0] / sizes[1])


@given(st.integers(0, 9))
def test_a_settled_step_of_momentum_leaves_what_its_bend_says(tenths):
    beta = tenths / 10
    sizes = 0.02 * (1 - beta) ** 2 * np.array([1.0, 0.5])
    exact, wrong = (float(data("momentum-settled").subs(momentum.beta, beta)) for data in (printed, planted))
    assert left_by_a_settled_step(exact, beta, sizes) > 2.8  # order
    assert left_by_a_settled_step(wrong, beta, sizes) < 2.2  # planted: without the ½ of plain steps


# --- PyTorch's AdamW


def adamw(warm, lr, betas, decay, floor, copies=1):
    """A parameter and its AdamW; ``warm`` is θ, m, v and the steps taken before."""
    start, m, v, steps = warm
    theta = torch.full((copies,), start, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.AdamW([theta], lr=lr, betas=betas, weight_decay=decay, eps=floor, foreach=False)
    moments = {"exp_avg": torch.full_like(theta, m), "exp_avg_sq": torch.full_like(theta, v)}
    adam.state[theta] = {"step": torch.tensor(float(steps)), **moments}
    return theta, adam


def by_torch(order, gradients, curvatures, warm, *constants):
    """θ after a step on each domain of the order."""
    theta, adam = adamw(warm, *constants)
    for domain in map(int, order):
        k = domain - 1
        theta.grad = gradients[k] + curvatures[k] * (theta.detach() - warm[0])
        adam.step()
    return theta.item()


LATE = 10**6  # steps after which bias correction is 1 in float64


def test_adam_keeps_its_effect_on_linear_losses_whatever_the_tail():
    n, tail, lr = second_moments.COUNT, second_moments.TAIL, 0.5
    betas = float(second_moments.BETA1), float(second_moments.BETA2)
    mean = sum(second_moments.GRADIENTS) / 2
    both = torch.tensor([second_moments.GRADIENTS, second_moments.GRADIENTS[::-1]], dtype=torch.float64)
    theta, adam = adamw((0.0, mean, mean**2, LATE), lr, betas, 0.0, 0.0, copies=2)  # 12 beside 21
    for step in range(2 * n + tail):
        theta.grad = both[:, step // n] if step < 2 * n else torch.full_like(theta, mean)
        adam.step()
    observed = (theta[0] - theta[1]).item()
    difference, bound = second_moments.after_tail(printed("second-moments-no-tail"))
    without, _ = second_moments.after_tail(planted("second-moments-no-tail"))
    roundoff = 1e-12 * tail
    assert abs(observed + lr * float(difference)) < roundoff
    assert abs(observed) > lr * float(bound) + roundoff
    assert abs(observed + lr * float(without)) > roundoff


def lasting_gaps(power, a, b, n, tails=(800, 1200)):
    """θ_12 − θ_21 after common tails by PyTorch: Adam, or SGD with momentum, without second moments."""
    theta, optimizer = adamw((0.0, (a + b) / 2, (a + b) ** 2 / 4, LATE), 1.0, (0.5, 0.99), 0.0, 0.0, copies=2)
    if power == 0:
        optimizer = torch.optim.SGD([theta], lr=1.0, momentum=0.5)
    both = torch.tensor([[a, b], [b, a]], dtype=torch.float64)
    found = []
    for step in range(2 * n + tails[-1]):
        theta.grad = both[:, step // n] if step < 2 * n else both.mean(1)
        optimizer.step()
        if step + 1 - 2 * n in tails:
            found.append(abs(theta[0] - theta[1]).item())
    return found


LASTS = 1e-6
"""Far above roundoff, 1e-12."""


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=4, deadline=None)
def test_an_order_of_linear_losses_lasts_under_second_moments(a, b, n):
    assume(a != b)
    gap, later = lasting_gaps(printed("second-moments-no-tail"), a, b, n)
    assert gap > LASTS
    assert abs(later - gap) < 0.2 * gap  # what is still to come falls as 0.99^tail


@pytest.mark.parametrize(("data", "lasts"), [(printed, True), (planted, False)])
def test_without_second_moments_the_tail_forgets_the_order(data, lasts):
    assert (min(lasting_gaps(data("second-moments-no-tail"), 3, 1, 4)) > LASTS) == lasts


def lasting_error(data, a, b, noise, n, eps):
    """(θ_12 − θ_21)/(−η) by the steps g/√v themselves, with an endless tail, less the printed formula."""
    rest, ends, mean = (a + b) ** 2 / 4 + noise, [], (a + b) / 2
    for order in ((a, b), (b, a)):
        v, moved = rest, 0.0
        for g in [g for g in order for _ in range(n)]:
            v = (1 - eps) * v + eps * (g * g + noise)
            moved += g / v**0.5
        ends.append((v, moved))
    (v12, moved12), (v21, moved21) = ends
    left = (1 - eps) ** np.arange(1, int(40 / eps))
    root12, root21 = (np.sqrt(rest + left * (v - rest)) for v in (v12, v21))
    tail = float(np.sum(mean * left * (v21 - v12) / (root12 * root21 * (root12 + root21))))
    symbols = second_moments.a, second_moments.b, second_moments.n, second_moments.v, second_moments.eps
    return moved12 - moved21 + tail - sp.lambdify(symbols, data, "math")(a, b, n, rest, eps)


def order_in_eps(data, *problem):
    large, small = (abs(lasting_error(data, *problem, eps)) for eps in (5e-4, 2.5e-4))
    return sp.oo if small < 1e-11 else float(sp.log(large / small, 2))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))
@settings(max_examples=6)
def test_what_second_moments_leave_is_of_first_order_in_one_minus_beta(a, b, noise, n):
    assume(a != b)
    slope = order_in_eps(printed("second-moments-lasting"), a, b, noise, n)
    assert slope > 1.8  # order, on rungs that float64 allows


@pytest.mark.parametrize(("data", "p"), [(printed, 2), (planted, 1)])
def test_twice_of_what_second_moments_leave_is_seen(data, p):
    assert abs(order_in_eps(data("second-moments-lasting"), 3, 1, 1, 2) - p) < 0.15  # order


def tau_of(terms, g, betas, warm, floor):
    """τ by its printed terms: sign, domain, and the domains that advanced the buffers."""
    _, m0, v0, steps = warm
    total = 0.0
    for sign, domain, before in terms:
        m, v, done = m0, v0, steps
        for seen in (*before, domain):
            m, v, done = (
                betas[0] * m + (1 - betas[0]) * g[seen],
                betas[1] * v + (1 - betas[1]) * g[seen] ** 2,
                done + 1,
            )
        total += sign * m / (1 - betas[0] ** done) / ((v / (1 - betas[1] ** done)) ** 0.5 + floor)
    return total


def tau_order(terms, slopes, curvatures, steps):
    betas, warm, floor = (0.9, 0.95), (0.7, 0.3, 0.8, steps), 0.01
    tau = tau_of(terms, dict(zip("AB", slopes, strict=True)), betas, warm, floor)
    left = []
    for lr in (1e-3, 1e-4):
        ends = [by_torch(order, slopes, curvatures, warm, lr, betas, 0.1, floor) for order in ("12", "21")]
        left.append(abs(ends[0] - ends[1] + lr * tau))
    return sp.oo if left[1] < 1e-14 else float(sp.log(left[0] / left[1], 10))


halves = st.integers(-6, 6).map(lambda k: k / 2)


@given(st.tuples(halves, halves), st.tuples(halves, halves), st.integers(0, 50))
def test_tau_is_what_a_step_of_each_leaves_at_first_order(slopes, curvatures, steps):
    assert tau_order(printed("tau-adamw"), slopes, curvatures, steps) > 1.8  # order, above float64's roundoff


@pytest.mark.parametrize(("data", "p"), [(printed, 2), (planted, 1)])
def test_buffers_advanced_by_the_wrong_domain_are_seen(data, p):
    assert abs(tau_order(data("tau-adamw"), (1.5, -0.5), (2.0, 0.5), 7) - p) < 0.1  # order


def tail_order(counted, slopes, curvatures, n):
    """The order in η of what τ leaves of a swap and a tail; ``counted`` are the tail's steps in τ."""
    betas, warm, floor = (0.9, 0.95), (0.7, 0.3, 0.8, 7), 0.01
    slopes, curvatures = ((*pair, sum(pair) / 2) for pair in (slopes, curvatures))  # and the mixture's
    orders = "A" * n + "B" * n, "B" * n + "A" * n
    terms = [
        (sign, domain, (order + counted)[:i])
        for sign, order in zip((1, -1), orders, strict=True)
        for i, domain in enumerate(order + counted)
    ]
    tau = tau_of(terms, dict(zip("ABM", slopes, strict=True)), betas, warm, floor)
    runs = [(order + memory.COMMON).translate(str.maketrans("ABM", "123")) for order in orders]
    left = []
    for lr in (1e-3, 1e-4):
        ends = [by_torch(run, slopes, curvatures, warm, lr, betas, 0.1, floor) for run in runs]
        left.append(abs(ends[0] - ends[1] + lr * tau))
    return sp.oo if left[1] < 1e-13 else float(sp.log(left[0] / left[1], 10))


@given(st.tuples(halves, halves), st.tuples(halves, halves), st.integers(1, 3))
@settings(max_examples=20)
def test_tau_of_blocks_and_a_tail_is_what_they_leave_at_first_order(slopes, curvatures, n):
    assert tail_order(printed("tau-tail"), slopes, curvatures, n) > 1.8  # order, above float64's roundoff


@pytest.mark.parametrize(("data", "p"), [(printed, 2), (planted, 1)])
def test_a_tail_whose_updates_are_left_out_is_seen(data, p):
    assert abs(tail_order(data("tau-tail"), (1.5, -0.5), (2.0, 0.5), 3) - p) < 0.15  # order
