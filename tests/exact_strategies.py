"""Small exact inputs for the tests of ``commute_verify.symbolic``, degenerate ones included."""

from fractions import Fraction

import sympy as sp
from hypothesis import strategies as st

from commute_verify.symbolic.schedules import LOCAL_TIME, SymbolicSchedule
from commute_verify.symbolic.trees import Tree, tree

rationals = st.builds(sp.Rational, st.integers(-4, 4), st.integers(1, 3))
one_or_two, up_to_three = st.integers(1, 2), st.integers(1, 3)
lengths = st.builds(sp.Rational, st.integers(1, 4), st.integers(1, 3))


def fractions():
    return st.builds(Fraction, st.integers(-4, 4), st.integers(1, 3))


@st.composite
def weights(draw, domains, time_degree=0):
    coefficients = [[draw(rationals) for _ in range(time_degree + 1)] for _ in range(domains)]
    return tuple(sum(c * LOCAL_TIME**p for p, c in enumerate(of_domain)) for of_domain in coefficients)


@st.composite
def flow_schedules(draw, domains=up_to_three, stages=up_to_three, time_degree=0):
    count = draw(domains) if isinstance(domains, st.SearchStrategy) else domains
    return SymbolicSchedule(
        tuple((draw(lengths), draw(weights(count, time_degree))) for _ in range(draw(stages)))
    )


@st.composite
def step_schedules(draw, domains=2, stages=one_or_two, steps=one_or_two, time_degree=0):
    return SymbolicSchedule(
        tuple((draw(steps), draw(weights(domains, time_degree))) for _ in range(draw(stages))),
        draw(lengths),
    )


@st.composite
def coloured_trees(draw, nodes, colors=(1, 2)):
    """A random recursive tree: each node hangs below an earlier one."""
    count = draw(nodes)
    parents = [draw(st.integers(0, child - 1)) for child in range(1, count)]
    painted = [draw(st.sampled_from(colors)) for _ in range(count)]
    below: list[list[Tree]] = [[] for _ in range(count)]
    for node in reversed(range(1, count)):
        below[parents[node - 1]].append(tree(painted[node], *below[node]))
    return tree(painted[0], *below[0])


@st.composite
def expressions(draw, variables, degree, most=4):
    """A polynomial in the variables as a SymPy expression, zero included."""
    total = sp.Integer(0)
    for _ in range(draw(st.integers(0, most))):
        powers = draw(st.lists(st.sampled_from(variables), min_size=0, max_size=degree))
        total += draw(rationals) * sp.prod(powers)
    return sp.expand(total)


def polynomials(space, variables, degree, most=4):
    """The same as an element of the ring of ``space``."""
    return expressions(variables, degree, most).map(space)
