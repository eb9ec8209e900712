"""Ways to every kernel that know no tree: exact operators on polynomials, and real flows of smooth losses."""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
import sympy as sp
import torch
from scipy.integrate import solve_ivp
from torch.autograd.functional import jacobian

from commute_verify.symbolic.fields import Coordinates
from commute_verify.symbolic.schedules import SymbolicSchedule

VARIABLES = sp.symbols("x0:2")


def signature(durations, weights, depth):
    """S_{k₁…kₙ} of piecewise-constant weights, n = 1 … depth, by Chen's rule and in their own arithmetic."""
    weights = np.asarray(weights)
    total = [np.ones((), weights.dtype)]
    total += [np.zeros(weights.shape[1:] * n, weights.dtype) for n in range(1, depth + 1)]
    for length, row in zip(durations, weights, strict=True):
        stage = [np.ones((), weights.dtype)]
        for n in range(1, depth + 1):
            stage.append(np.multiply.outer(stage[-1], row * length) / n)
        total = [
            sum(np.multiply.outer(total[m], stage[n - m]) for m in range(n + 1)) for n in range(depth + 1)
        ]
    return total[1:]


def arguments(differences, D1, D2, D3, target1, target2, target3):
    """Every argument of every kernel, from dense derivatives of the losses (K, n, …) and of the target."""
    names = dict(zip(("d1", "d2", "d3"), differences, strict=False))
    Hg = np.einsum("iab,jb->ija", D2, D1)
    return names | {
        "g": D1,
        "u": target1,
        "Hu": np.einsum("kab,b->ka", D2, target1),
        "Hg": Hg,
        "HHg": np.einsum("iab,jkb->ijka", D2, Hg),
        "Tgg": np.einsum("iabc,jb,kc->ijka", D3, D1, D1),
        "HLg": np.einsum("ab,kb->ka", target2, D1),
        "Tu_g": np.einsum("kabc,b,ic->kia", D3, target1, D1),
        "TL": np.einsum("abc,ib,jc->ija", target3, D1, D1),
        "hessian_j_gradient_i": Hg[-1, 0],
        "hessian_i_gradient_j": Hg[0, -1],
    }


def call(function, given_arguments):
    code = function.__code__
    return function(*(given_arguments[name] for name in code.co_varnames[: code.co_argcount]))


def fraction(number):
    rational = sp.Rational(number)
    return Fraction(int(rational.p), int(rational.q))


@dataclass(frozen=True)
class PolynomialCase:
    """Losses, the target last, in x0, x1; a schedule and a reference, (length, weights) a stage; a point."""

    losses: tuple
    schedule: tuple
    reference: tuple
    point: tuple

    def excess(self, order, observed):
        """observed(θ_w) − observed(θ_ref) up to ``order``, at the point."""
        space = Coordinates(VARIABLES)
        domains = [space(loss) for loss in self.losses[:-1]]
        ends = [
            space.along(space(observed), domains, SymbolicSchedule(stages), order)
            for stages in (self.schedule, self.reference)
        ]
        terms = [space.graded(ends[0] - ends[1], n).as_expr() for n in range(1, order + 1)]
        return self.at(sp.Add(*terms))

    def differences(self, depth):
        """Signatures of the schedule less those of the reference."""
        both = []
        for stages in (self.schedule, self.reference):
            rows = np.array([[fraction(w) for w in weights] for _, weights in stages], dtype=object)
            both.append(signature([fraction(length) for length, _ in stages], rows, depth))
        return [a - b for a, b in zip(*both, strict=True)]

    def derivatives(self, m):
        """Of the losses (K, 2, …) and of the target (2, …), m times."""
        dense = np.empty((len(self.losses), *[len(VARIABLES)] * m), dtype=object)
        for k, *axes in np.ndindex(dense.shape):
            dense[k, *axes] = self.at(sp.diff(self.losses[k], *(VARIABLES[i] for i in axes)))
        return dense[:-1], dense[-1]

    def arguments(self):
        losses, target = zip(*(self.derivatives(m) for m in (1, 2, 3)), strict=True)
        return arguments(self.differences(3), *losses, *target)

    def expected(self, name):
        if name == "lie_bracket":
            space = Coordinates(VARIABLES)
            fields = [space.gradient(space(loss)) for loss in (self.losses[0], self.losses[-2])]
            return [self.at(component.as_expr()) for component in space.lie_bracket(*fields)]
        if name == "order_criterion":
            space = Coordinates(VARIABLES)
            fields = [space.gradient(space(loss)) for loss in self.losses]
            return [
                [self.at(space.inner(space.lie_bracket(x, y), fields[-1]).as_expr()) for y in fields[:-1]]
                for x in fields[:-1]
            ]
        order = int(name[-1])
        if name.startswith("excess_loss"):
            return self.excess(order, self.losses[-1])
        return [self.excess(order, x) for x in VARIABLES]

    def at(self, expression):
        return fraction(expression.subs(dict(zip(VARIABLES, self.point, strict=True))))


@dataclass(frozen=True)
class SmoothLosses:
    """L_k(θ) = Σ_m c_km log cosh(a_km·θ + b_km), k = 0 … K, the target last."""

    c: np.ndarray
    a: np.ndarray
    b: np.ndarray

    @classmethod
    def random(cls, K, n, seed):
        rng = np.random.default_rng(seed)
        return cls(
            rng.uniform(0.5, 1.5, (K + 1, 4)),
            0.7 * rng.normal(size=(K + 1, 4, n)),
            rng.normal(size=(K + 1, 4)),
        )

    def gradients(self, theta):
        slopes = self.c * np.tanh(self.a @ theta + self.b)
        return np.einsum("km,kmn->kn", slopes, self.a)[:-1]

    def torch_loss(self, k):
        c, a, b = (torch.as_tensor(array[k]) for array in (self.c, self.a, self.b))
        return lambda theta: (c * torch.log(torch.cosh(a @ theta + b))).sum()

    def field(self, k):
        """∇L_k, differentiable again."""

        def slope(theta):
            point = theta if theta.requires_grad else theta.requires_grad_()
            return torch.autograd.grad(self.torch_loss(k)(point), point, create_graph=True)[0]

        return slope

    def dense(self, theta):
        """First, second and third derivatives of losses and target, by autograd alone."""
        point = torch.as_tensor(theta)
        every = []
        for k in range(len(self.c)):
            first = self.field(k)
            second = partial(jacobian, first, create_graph=True)
            every.append([first(point), second(point), jacobian(second, point)])
        D1, D2, D3 = (np.stack([d[m].detach().numpy() for d in every]) for m in range(3))
        return (D1[:-1], D2[:-1], D3[:-1]), (D1[-1], D2[-1], D3[-1])

    def flow(self, theta, durations, weights):
        for length, row in zip(durations, weights, strict=True):
            solution = solve_ivp(
                lambda _, z, row=row: -row @ self.gradients(z),
                (0, length),
                theta,
                "DOP853",
                rtol=1e-13,
                atol=1e-15,
            )
            theta = solution.y[:, -1]
        return theta
