"""Estimates are unbiased, their intervals cover, and signs are seldom resolved by chance."""

from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from commute_verify import order_effect
from commute_verify.criterion import Cost, OrderEffect, effect, estimation, ratio, replicate
from commute_verify.criterion.gradient import Gradient, Products
from commute_verify.criterion.probe import Probe
from commute_verify.criterion.ratio import WeightedMean, coefficients
from commute_verify.criterion.sampling import Roles, Supply
from commute_verify.criterion.statistics import half_width, holm, look_factor, mean_and_stderr, p_values
from tests.criterion_models import Dense, dense_P, squares

ALPHA = 1e-3
"""Statistical: each check below fails by chance with this probability at most, under its fixed seed."""


@pytest.fixture
def no_probe(monkeypatch):
    """Spend no time on the start-up probe in each of many draws."""
    fixed = Probe("double-backward", {"a": None, "b": None}, 0.0, 0.0, {})
    monkeypatch.setattr(estimation, "probed", lambda *arguments: fixed)


class Population:
    """Two domains of finitely many ragged batches, whose truth is known; draws are with replacement."""

    def __init__(self, weights_tell=False):
        rng = np.random.default_rng(0)
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Tanh(), nn.Linear(2, 1)).double()
        self.pools = {}
        for name, shift, level in (("a", (1.0, 0.2), 3.0), ("b", (0.3, 1.0), 3.0)):
            self.pools[name] = []
            for rows in (1, 2, 3, 4, 5, 6) * 5:
                centre = np.array(shift) * (rows / 3.5 if weights_tell else 1.0)
                x = torch.tensor(rng.normal(size=(rows, 2)) + centre)
                self.pools[name].append((x, torch.tensor(0.1 * rng.normal(size=rows) + level)))
        dense = Dense(self.model, squares)
        g = [dense.gradient(pool) for pool in self.pools.values()]
        H = [dense.hessian(pool) for pool in self.pools.values()]
        self.truth = dense_P(g, H, (g[0] + g[1]) / 2)[0, 1]

    def draw(self, seed, batches):
        rng = np.random.default_rng(seed)
        data = {
            name: [pool[n] for n in rng.integers(len(pool), size=batches)]
            for name, pool in self.pools.items()
        }
        return order_effect(
            self.model,
            squares,
            data,
            targets={"mix": {"a": 0.5, "b": 0.5}},
            batches=batches,
            method="double-backward",
            progress=False,
            seed=seed,
        )


def estimates(population, draws, batches):
    """P and half its 95% interval, for each draw."""
    found = []
    for seed in range(draws):
        one = population.draw(seed, batches)
        width = half_width(one.stderr["mix"], len(one.P_replicates), 0.05)
        found.append((one.P["mix"][0, 1], width[0, 1]))
    return np.array(found).T


def is_unbiased(values, truth):
    """A z-test of the mean over draws, at ALPHA."""
    z = (values.mean() - truth) / (values.std(ddof=1) / np.sqrt(len(values)))
    return abs(z) <= scipy.stats.norm.isf(ALPHA / 2)


def shared_batches(self, name, size, deal=Supply.roles):
    """The planted error: one role's batches serve the target as well."""
    roles = deal(self, name, size)
    return Roles(roles.field, roles.field)


def test_a_few_draws_are_unbiased_and_cover(no_probe):
    population = Population()
    values, widths = estimates(population, 100, 12)
    assert is_unbiased(values, population.truth)
    assert np.mean(np.abs(values - population.truth) <= widths) >= 0.88  # 3.3 σ of 100 draws at 95%


def test_batches_shared_between_factors_are_seen_as_a_bias(monkeypatch, no_probe):
    monkeypatch.setattr(Supply, "roles", shared_batches)
    population = Population()
    assert not is_unbiased(estimates(population, 200, 8)[0], population.truth)


@pytest.mark.slow
@pytest.mark.parametrize("batches", [12, pytest.param(48, marks=pytest.mark.nightly)])
def test_95_per_cent_intervals_cover_93_to_97_per_cent_of_1000_draws(batches, no_probe):
    population = Population()
    values, widths = estimates(population, 1000, batches)
    assert is_unbiased(values, population.truth)
    assert 0.93 <= np.mean(np.abs(values - population.truth) <= widths) <= 0.97


class Tabled(Population):
    """Batches of 1, 2 and 8 rows, whose gradients and Hessians are computed once: draws are quick."""

    def __init__(self, monkeypatch, levels=(3.0, 3.0), noise=0.1, tell=0.0, seed=0):
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Tanh(), nn.Linear(2, 1)).double()
        dense, g, H, self.pools = Dense(net, squares), [], [], {}
        for name, shift, level in (("a", (1.0, 0.2), levels[0]), ("b", (0.3, 1.0), levels[1])):
            pool = []
            for rows in (1, 2, 8) * 8:
                factor = 1 + tell * (3 * rows / 11 - 1)
                x = torch.tensor(rng.normal(size=(rows, 2)) + np.array(shift) * factor)
                pool.append((x, torch.tensor(noise * rng.normal(size=rows) + level * factor)))
            g.append(dense.gradient(pool))
            H.append(dense.hessian(pool))
            self.pools[name] = [
                (len(x) * dense.gradient([(x, y)]), len(x) * dense.hessian([(x, y)]), float(len(x)))
                for x, y in pool
            ]
        self.truth = dense_P(g, H, (g[0] + g[1]) / 2)[0, 1]
        self.model = nn.Linear(len(g[0]), 1, bias=False).double()
        monkeypatch.setattr(replicate, "gradient", self.gradient)
        monkeypatch.setattr(replicate, "hessian_vector_products", self.products)

    @staticmethod
    def gradient(objective, batch):
        return Gradient({"weight": torch.tensor(batch[0])[None]}, batch[2], 0.0)

    @staticmethod
    def products(objective, batch, directions, method, step):
        g, H, weight = batch
        found = [{"weight": v["weight"] @ torch.tensor(H)} for v in directions]
        return Products({"weight": torch.tensor(g)[None]}, found, weight)


def alone_in_its_role(weights, known, coefficients=coefficients):
    """The planted error: each average knows its own weights alone."""
    return coefficients(weights, weights)


HARD = {
    "noise-dominated": {"noise": 5.0},
    "nothing but noise": {"levels": (0.1, -0.1), "noise": 1.0},
    "weights tell": {"noise": 1.0, "tell": 0.5},
}


@pytest.mark.parametrize("case", HARD)
def test_a_few_draws_cover_where_it_is_hard(case, monkeypatch, no_probe):
    population = Tabled(monkeypatch, **HARD[case])
    values, widths = estimates(population, 100, 40)
    assert np.mean(np.abs(values - population.truth) <= widths) >= 0.88  # 3.3 σ of 100 draws at 95%


@pytest.mark.nightly
@pytest.mark.parametrize(("batches", "draws"), [(40, 1000), (100, 400)])
@pytest.mark.parametrize("case", HARD)
def test_intervals_cover_where_it_is_hard(case, batches, draws, monkeypatch, no_probe):
    population = Tabled(monkeypatch, **HARD[case])
    values, widths = estimates(population, draws, batches)
    assert is_unbiased(values, population.truth)
    least = scipy.stats.binom.ppf(ALPHA, draws, 0.95) / draws
    assert least <= np.mean(np.abs(values - population.truth) <= widths) <= 0.98


def test_averages_that_know_their_own_weights_alone_are_seen_as_a_bias(monkeypatch, no_probe):
    population = Tabled(monkeypatch, **HARD["weights tell"])
    assert is_unbiased(estimates(population, 150, 48)[0], population.truth)
    monkeypatch.setattr(ratio, "coefficients", alone_in_its_role)
    assert not is_unbiased(estimates(population, 150, 48)[0], population.truth)


class Endless:
    """A domain that draws from a pool without end."""

    def __init__(self, pool, *seed):
        self.pool, self.seed = pool, seed

    def __iter__(self):
        rng = np.random.default_rng(self.seed)
        while True:
            yield self.pool[rng.integers(len(self.pool))]


def wrong_signs(population, draws, budget):
    """In how many draws sampling on, in replicates of three batches, resolves the wrong sign."""
    wrong = 0
    for seed in range(draws):
        found = order_effect(
            population.model,
            squares,
            {name: Endless(pool, seed, n) for n, (name, pool) in enumerate(population.pools.items())},
            targets={"mix": {"a": 0.5, "b": 0.5}},
            batches=12,
            until="resolved",
            budget=budget,
            method="double-backward",
            progress=False,
            seed=seed,
        )
        answer = found.prefer_first("a", "b")
        wrong += answer.resolved and answer.first == ("a" if population.truth > 0 else "b")
    return wrong


def test_sampling_on_over_ragged_batches_resolves_no_sign_that_bias_alone_would_make(monkeypatch, no_probe):
    population = Tabled(monkeypatch, levels=(1.0, -1.0), noise=1.0, tell=0.5, seed=2)
    assert at_most(wrong_signs(population, 6, 4000), 0.05, 6)
    monkeypatch.setattr(ratio, "coefficients", alone_in_its_role)
    assert not at_most(wrong_signs(population, 6, 4000), 0.05, 6)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_a_ratio_of_means_is_unbiased_where_the_quotient_does_not_depend_on_the_weight(n):
    rng = np.random.default_rng(n)
    weights = rng.integers(1, 9, size=n).astype(float).tolist()
    A, B = coefficients(weights, weights)
    quotient = rng.normal(size=100_000, loc=2.0)[:, None] * np.ones(n)  # the same for all batches: exact
    sums = quotient * weights
    found = A * sums.sum(axis=1) + B * (sums * (np.array(weights) - weights[0])).sum(axis=1)
    assert np.abs(found - quotient[:, 0]).max() <= 1e-12  # roundoff


W, S = np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0])
"""A population of three batches, alike in number, whose weights tell their sums: the ratio is 7/3."""


def bias(estimator, n, population=(W, S)):
    """The exact mean of an estimator over all n-tuples of a population, less the true ratio."""
    w, s = population
    tuples = np.stack(np.meshgrid(*[np.arange(len(w))] * n, indexing="ij"), axis=-1).reshape(-1, n)
    return np.mean([estimator(s[t], w[t]) for t in tuples]) - s.sum() / w.sum()


def applied(s, w, known):
    A, B = coefficients(w.tolist(), known)
    return A * s.sum() + B * (s * (w - w[0])).sum()


def alone(s, w):
    """From what its own batches tell."""
    return applied(s, w, w.tolist())


def the_first(n):
    """From the first n batches, with the weights of all that are drawn."""
    return lambda s, w: applied(s[:n], w[:n], w.tolist())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_mean_fed_batch_by_batch_is_the_estimator_and_writes_to_no_vector_it_was_given(dtype):
    rng = np.random.default_rng(3)
    for weights in ([2.0], [2.0, 2.0], [1.0, 3.0], [3.0, 1.0, 1.0, 7.0]):
        parts = [torch.tensor(rng.normal(size=3)).to(dtype) for _ in weights]
        shared = torch.ones(1, dtype=dtype).expand(3)  # one number behind all entries, as gradients may be
        given, mean = [{"w": part, "v": shared} for part in parts], WeightedMean()
        before = [part.clone() for part in parts]
        for vector, weight in zip(given, weights, strict=True):
            mean.add(vector, weight)
        known = [*weights, 1.0, 5.0]
        total, factor = mean.result(known)
        A, B = coefficients(weights, known)
        factors = [A + B * (w - weights[0]) for w in weights]
        expected = sum(f * part.double() for f, part in zip(factors, parts, strict=True))
        roundoff = {torch.float64: 2.0**-50, torch.bfloat16: 2.0**-20}[dtype] * 10
        assert (factor * total["w"].double() - expected).abs().max() <= roundoff
        assert (factor * total["v"].double() - sum(factors)).abs().max() <= roundoff
        assert all(torch.equal(one, other) for one, other in zip(before, parts, strict=True))


def test_the_bias_of_a_ratio_of_means_falls_by_one_order_more_than_that_of_the_plain_ratio():
    slopes = [np.log2(abs(bias(f, 3) / bias(f, 6))) for f in (lambda s, w: s.sum() / w.sum(), alone)]
    assert abs(slopes[0] - 1) <= 0.3  # order 1 in 1/n
    assert slopes[1] >= 1.6  # order 2
    assert abs(bias(alone, 6)) < abs(bias(lambda s, w: s.sum() / w.sum(), 6)) / 4


def test_two_batches_lose_their_bias_as_other_weights_become_known_by_one_order_more_than_one_batch():
    assert abs(bias(the_first(2), 8)) < abs(bias(alone, 2)) / 4
    two, one = ([abs(bias(the_first(n), m)) for m in (4, 8)] for n in (2, 1))
    assert np.log2(two[0] / two[1]) >= 1.4  # order 2 in 1/m, not yet there
    assert abs(np.log2(one[0] / one[1]) - 1) <= 0.3  # order 1 in 1/m


def test_an_error_of_the_mean_weight_counts_by_its_square():
    def expanded(s, w, mean):
        return applied(s, w, [mean - 1e-6, mean + 1e-6])

    def plain(s, w, mean):
        return s.mean() / mean

    orders = []
    for estimator in (expanded, plain):
        one, two = (bias(partial(estimator, mean=2 + error), 3) for error in (0.02, 0.04))
        orders.append(np.log2(two / one))
    assert abs(orders[0] - 2) <= 0.1
    assert abs(orders[1] - 1) <= 0.1  # the comparison sees an error that counts once


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_its_step_down_procedure_rejects(values, alpha):
    rejected = set()
    for rank, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        if values[index] * (len(values) - rank) > alpha:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(values)) if p <= alpha} == rejected


def test_p_values_and_widths_are_those_of_students_t():
    draws = np.random.default_rng(0).normal(size=(7, 5), loc=0.3)
    expected = scipy.stats.ttest_1samp(draws, 0.0)
    assert np.abs(p_values(draws) - expected.pvalue).max() <= 1e-13  # roundoff
    low, high = expected.confidence_interval(0.95)
    mean, stderr = mean_and_stderr(draws)
    assert np.abs(mean + half_width(stderr, 7, 0.05) - high).max() <= 1e-13
    assert np.abs(mean - half_width(stderr, 7, 0.05) - low).max() <= 1e-13


def test_replicates_that_are_all_alike_are_certain_and_those_that_are_0_are_not():
    assert p_values(np.ones(4)) == 0
    assert p_values(np.zeros(4)) == 1


def null_effect(rng, replicates, looks=0):
    """An effect of three domains and three targets whose every P is noise: products of three averages."""
    P = np.zeros((replicates, 3, 3, 3))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        P[:, :, i, j] = rng.normal(size=(replicates, 3)) * (1 + 0.5 * rng.normal(size=(replicates, 3)))
        P[:, :, j, i] = -P[:, :, i, j]
    mixing = {name: {name: 1.0} for name in "abc"}
    cost = Cost(1, 1, 1, 1, 1.0, 1)
    return OrderEffect(tuple("abc"), mixing, P, np.zeros((replicates, 3, 3)), cost, "", looks)


def at_most(errors, alpha, draws):
    """Whether so many errors are likely if their probability is at most alpha, at ALPHA."""
    return errors <= scipy.stats.binom.isf(ALPHA, draws, alpha)


def test_under_a_true_null_any_sign_is_resolved_in_at_most_alpha_of_draws():
    rng, draws, alpha = np.random.default_rng(0), 1000, 0.05
    errors = sum(null_effect(rng, 10).unresolved(alpha) < 9 for _ in range(draws))
    assert at_most(errors, alpha, draws)


def test_without_holm_s_correction_it_would_be_more(monkeypatch):
    monkeypatch.setattr(effect, "holm", list)
    rng, draws, alpha = np.random.default_rng(0), 1000, 0.05
    errors = sum(null_effect(rng, 10).unresolved(alpha) < 9 for _ in range(draws))
    assert not at_most(errors, alpha, draws)


class NullRun:
    """A run whose replicates are noise: what is sampled until the signs are resolved."""

    def __init__(self, rng):
        self.rng = rng
        self.estimates = self.P = []

    def expect(self, sizes):
        pass

    def replicate(self, size):
        P = np.zeros((1, 2, 2))
        P[0, 0, 1] = self.rng.normal()
        self.P.append(P - P.swapaxes(1, 2))

    def effect(self, looks, stopped):
        P = np.stack(self.P)
        cost = Cost(1, 1, 1, 1, 1.0, 1)
        slopes = np.zeros((len(P), 1, 2))
        return OrderEffect(("a", "b"), {"a": {"a": 1.0}}, P, slopes, cost, "", looks, stopped)


class Looks:
    """A budget of so many replicates."""

    def __init__(self, replicates):
        self.replicates = replicates

    def allows(self, run, sizes):
        return len(run.P) + len(sizes) <= self.replicates

    def check_first(self, run, sizes):
        pass


def wrongly_resolved(draws):
    rng = np.random.default_rng(0)
    found = [estimation._sample(NullRun(rng), [3] * 4, Looks(30)) for _ in range(draws)]
    assert {one.stopped for one in found} <= {"every sign is resolved", "the budget is spent"}
    return sum(one.prefer_first("a", "b").resolved for one in found)


def test_looking_until_it_is_resolved_finds_a_sign_in_noise_in_at_most_alpha_of_draws():
    assert at_most(wrongly_resolved(400), 0.05, 400)


def test_without_the_correction_for_looking_again_it_would_be_more(monkeypatch):
    monkeypatch.setattr(effect, "look_factor", lambda looks: 1.0)
    assert not at_most(wrongly_resolved(400), 0.05, 400)


def test_the_error_spent_over_all_looks_sums_to_at_most_1():
    assert look_factor(0) == 1.0
    assert sum(1 / look_factor(k) for k in range(1, 100_000)) < 1.0
    assert sum(1 / look_factor(k) for k in range(1, 100_000)) > 0.9999


def test_until_resolved_stops_at_a_clear_sign_and_says_how_often_it_looked():
    population = Population()
    rng = np.random.default_rng(0)
    data = {
        name: [
            tuple(map(torch.cat, zip(*(pool[n] for n in rng.integers(len(pool), size=40)), strict=True)))
            for _ in range(120)
        ]
        for name, pool in population.pools.items()
    }
    found = order_effect(
        population.model,
        squares,
        data,
        targets={"mix": {"a": 0.5, "b": 0.5}},
        until="resolved",
        budget=20_000,
        batches=12,
        progress=False,
    )
    assert found.stopped == "every sign is resolved"
    waits_for_half_as_much_again = [4, 6, 9, 13, 19, 28, 42]
    assert len(found.P_replicates) == waits_for_half_as_much_again[found.looks - 1]
    assert found.prefer_first("a", "b").resolved
    assert found.prefer_first("a", "b").first == ("b" if population.truth > 0 else "a")


def test_until_resolved_stops_where_the_budget_is_spent():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, 2, generator=draw, dtype=torch.float64)
    data = {name: [(one, torch.zeros(2).double()) for one in x] for name in "ab"}  # the same: P is 0
    found = order_effect(
        nn.Linear(2, 1).double(),
        squares,
        data,
        targets={"a": {"a": 1.0}},
        until="resolved",
        budget=200,
        batches=12,
        method="forward-over-reverse",
        progress=False,
    )
    assert found.stopped == "the budget is spent"
    assert not found.prefer_first("a", "b").resolved
    assert found.cost.gradient_passes + 3 * found.cost.hvp_passes <= 200
    another = 2 * 2 + 3 * 2  # a replicate of three batches of each of two domains
    assert found.cost.gradient_passes + 3 * found.cost.hvp_passes + another > 200


def test_until_resolved_stops_where_a_domain_ends():
    population = Population()
    data = {"a": population.pools["a"][:13], "b": population.pools["b"][:13]}
    found = order_effect(
        population.model, squares, data, until="resolved", budget="1h", batches=12, progress=False
    )
    assert found.stopped.startswith("domain 'a' ran out after 13 batches")
    assert len(found.P_replicates) == 4
