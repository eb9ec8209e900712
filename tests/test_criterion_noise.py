"""The noise terms of a model against dense float64 derivatives, covariances that are known, and plain SGD."""

import json
import random
import warnings
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

import commute_verify as cv
from commute_verify import CommuteError, OrderEffect
from commute_verify.criterion import AdamPreconditioner, Cost, NoiseEffect, noise_replicate
from commute_verify.criterion.noise_replicate import NoiseRoles, NoiseWork, _balanced, noise_estimate
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.sampling import Drawn
from tests.criterion_models import Dense, regression, squares

DOMAINS = ("a", "b", "c")
MIXING = {"b": {"b": 1.0}, "mix": {"a": 0.5, "b": 0.25, "c": 0.25}}
M = np.array([[row.get(k, 0.0) for k in DOMAINS] for row in MIXING.values()])


def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()


def batches(count, rows=3, seed=0):
    """Batches of each domain; their targets differ, so that gradients do not vanish."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for k, name in enumerate(DOMAINS):
        found[name] = []
        for _ in range(count):
            x, y = regression(draw, rows)
            found[name].append((x + 0.5 * k, 0.3 * y + (-1.0) ** k))
    return found


# --- one replicate, whose batches are known, against dense matrices


class DenseNoise:
    """The noise terms from dense gradients, Hessians, and third derivatives by differences of Hessians."""

    def __init__(self, model, roles, D=None):
        self.dense, self.roles = Dense(model, squares), roles
        self.D = np.ones(self.dense.theta.numel()) if D is None else D
        here = self.dense.theta
        own = {name: [b for _, b in r.noise] for name, r in roles.items()}
        self.g = {name: np.mean([self.dense.gradient([b]) for b in own[name]], axis=0) for name in roles}
        self.noise_g = {name: [self.dense.gradient([b]) for b in own[name]] for name in roles}
        self.noise_H = {name: [self.dense.hessian([b]) for b in own[name]] for name in roles}
        field = {name: [b for _, b in r.field] for name, r in roles.items()}
        target = {name: [b for _, b in r.target] for name, r in roles.items()}
        self.H = {name: self.dense.hessian(field[name]) for name in roles}
        self.u = {name: self.dense.gradient(target[name]) for name in roles}
        self.HL = {name: self.dense.hessian(target[name]) for name in roles}
        self.T3 = {name: self._third(here, field[name]) for name in roles}

    def _third(self, here, data, h=1e-5):
        found = []
        for k in range(len(here)):
            e = torch.zeros_like(here)
            e[k] = h
            ends = []
            for sign in (1, -1):
                self.dense.theta = here + sign * e
                ends.append(self.dense.hessian(data))
            found.append((ends[0] - ends[1]) / (2 * h))
        self.dense.theta = here
        return np.stack(found)

    def covariance(self, name):
        """The sample covariance of a domain's minibatches, preconditioned."""
        return np.cov(np.array(self.noise_g[name]).T, ddof=1) * np.outer(self.D, self.D)

    def terms(self, weights, factors=(1.0, 0.5, -0.5)):
        K, D = len(DOMAINS), self.D
        u = sum(w * self.u[k] for w, k in zip(weights, DOMAINS, strict=True))
        HL = sum(w * self.HL[k] for w, k in zip(weights, DOMAINS, strict=True))
        A = np.zeros((K, K, 3))
        for i, one in enumerate(DOMAINS):
            for j, other in enumerate(DOMAINS):
                if i == j:
                    continue
                S = self.covariance(other)
                DH = D[:, None] * self.H[one]
                A[i, j, 0] = factors[0] * np.trace(S @ DH.T @ HL)
                A[i, j, 1] = factors[1] * np.einsum("k,kab,ab->", D * u, self.T3[one], S)
                moved = [D * (H @ (D * self.g[one])) for H in self.noise_H[other]]
                kicks = [D * g for g in self.noise_g[other]]
                cross = np.cov(np.array(moved).T, np.array(kicks).T, ddof=1)[: len(D), len(D) :]
                A[i, j, 2] = factors[2] * np.sum((cross + cross.T) * HL)
        return A - A.swapaxes(0, 1)


def work_of(model, D=None, method="double-backward", per_step=1.0, probes=1, seed=0):
    objective = Objective.of(model, squares)
    split = None if D is None else Dense(model, squares).split(torch.from_numpy(D))
    return NoiseWork(objective, M, method, split, per_step, probes, random.Random(seed))


def roles_of(noise=2, seed=0, rows=3):
    data = batches(noise + 3, rows, seed)
    return {
        name: NoiseRoles(
            [Drawn(n, b) for n, b in enumerate(own[:noise])],
            [Drawn(n, b) for n, b in enumerate(own[noise : noise + 2], noise)],
            [Drawn(noise + 2, own[-1])],
        )
        for name, own in data.items()
    }


def diagonal(model):
    return np.linspace(0.5, 2.0, sum(p.numel() for p in model.parameters()))


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("method", ["double-backward", "finite-difference"])
def test_every_term_is_that_of_dense_matrices(method, preconditioned):
    """Two minibatches leave one choice of signs, so that the estimate is the sample covariance's, exactly."""
    model, roles = net(), roles_of()
    D = diagonal(model) if preconditioned else None
    found = noise_estimate(work_of(model, D, method), roles).terms
    dense = DenseNoise(model, roles, D)
    for t in range(len(M)):
        expected = dense.terms(M[t])
        assert (np.abs(expected[np.triu_indices(3, 1)]) > 1e-5).all()
        assert np.abs(found[t] - expected).max() <= 1e-6 * np.abs(expected).max()  # order: h² of differences


@pytest.mark.parametrize(
    "planted",
    [
        lambda e: e[..., ::1].swapaxes(0, 1),
        lambda e: 2 * e,
        lambda e: e * [0.5, 1, 1],
        lambda e: e * [1, 2, 1],
        lambda e: e * [1, 1, -1],
    ],
    ids=["order", "η, not η/2", "half a curvature term", "a whole third derivative", "sign of D_gΣ"],
)
def test_the_dense_terms_reject_planted_errors(planted):
    model, roles = net(), roles_of()
    found = noise_estimate(work_of(model), roles).terms[1]
    wrong = planted(DenseNoise(model, roles).terms(M[1]))
    assert np.abs(found - wrong).max() > 1e-2 * np.abs(found).max()


def test_slopes_are_those_of_the_gradients():
    model, roles = net(), roles_of()
    D = diagonal(model)
    found = noise_estimate(work_of(model, D), roles).slopes
    dense = DenseNoise(model, roles)
    for t in range(len(M)):
        u = sum(w * dense.u[k] for w, k in zip(M[t], DOMAINS, strict=True))
        expected = [(D * u) @ dense.g[k] for k in DOMAINS]
        assert np.abs(found[t] - expected).max() <= 1e-12  # roundoff


class EverySign(random.Random):
    """Deals the given sets of positive signs in turn."""

    def __init__(self, choices):
        super().__init__()
        self.choices = list(choices)

    def shuffle(self, x):
        chosen = self.choices.pop(0)
        x[:] = [1.0 if b in chosen else -1.0 for b in range(len(x))]


def test_over_all_signs_of_four_minibatches_the_estimate_is_the_sample_covariances():
    model, roles = net(), roles_of(noise=4)
    halves = list(combinations(range(4), 2))[:3]
    work = work_of(model, probes=3)
    work.signs = EverySign(halves * 3)
    found = noise_estimate(work, roles).terms
    for t in range(len(M)):
        expected = DenseNoise(model, roles).terms(M[t])
        assert np.abs(found[t] - expected).max() <= 1e-6 * np.abs(expected).max()  # order: h²


def test_signs_without_the_correction_for_the_mean_would_be_seen(monkeypatch):
    monkeypatch.setattr(
        noise_replicate, "_balanced", lambda *given: [c * (3 / 4) ** 0.5 for c in _balanced(*given)]
    )
    with pytest.raises(AssertionError):
        test_over_all_signs_of_four_minibatches_the_estimate_is_the_sample_covariances()


def test_more_batches_in_a_step_divide_the_covariance():
    model, roles = net(), roles_of()
    one, four = (noise_estimate(work_of(model, per_step=s), roles).terms for s in (1.0, 4.0))
    assert np.abs(four - one / 4).max() <= 1e-7 * np.abs(one).max()  # roundoff of differences


# --- the whole call


def population(count=48, rows=2):
    return batches(count, rows, seed=1)


@pytest.fixture(scope="module")
def estimated():
    model, data = net(), population()
    effect = cv.order_effect(
        model, squares, data, targets=MIXING, batches=48, method="double-backward", progress=False
    )
    return model, data, effect


def noise_of(estimated, **options):
    model, data, effect = estimated
    return effect.noise(model, squares, data, **{"lr": 0.1, "batches": 16, "progress": False, **options})


def truth(model, data, weights):
    """The terms of the population: its covariance, its Hessians."""
    roles = {}
    for name, own in data.items():
        whole = [Drawn(0, tuple(map(torch.cat, zip(*own, strict=True))))]
        roles[name] = NoiseRoles([Drawn(0, b) for b in own], whole, whole)
    return DenseNoise(model, roles).terms(weights).sum(axis=-1)


def test_many_draws_have_the_populations_terms_as_their_mean(estimated):
    """Drawn without replacement from a finite population: its covariance, with its n − 1, is the truth."""
    model, data, effect = estimated
    draws = []
    for seed in range(5):
        order = random.Random(seed)
        shuffled = {name: order.sample(own, len(own)) for name, own in data.items()}
        found = noise_of((model, shuffled, effect), seed=seed, targets=["mix"], batches=48)
        draws += list(found.terms_replicates[:, 0].sum(axis=-1))
    expected = truth(model, data, M[1])
    error = np.std(draws, axis=0, ddof=1) / np.sqrt(len(draws))
    upper = np.triu_indices(3, 1)
    t = np.abs(np.mean(draws, axis=0) - expected)[upper] / error[upper]
    assert t.max() < 4  # statistical: α ≈ 0.001 for 3 pairs and 29 degrees of freedom, fixed seeds
    assert (np.abs(np.mean(draws, axis=0) + expected)[upper] / error[upper]).max() > 5


def test_standard_errors_are_those_of_the_replicates(estimated):
    found = noise_of(estimated)
    each = 0.1 * found.terms_replicates.sum(axis=-1)
    assert each.shape == (4, 2, 3, 3)
    for t, target in enumerate(MIXING):
        assert np.abs(found.value[target] - each[:, t].mean(axis=0)).max() <= 1e-15
        assert np.abs(found.stderr[target] - each[:, t].std(axis=0, ddof=1) / 4**0.5).max() <= 1e-15
        parts = sum(found.terms[target].values())
        assert np.abs(parts - found.value[target]).max() <= 1e-15


def test_the_terms_are_proportional_to_the_learning_rate(estimated):
    found = noise_of(estimated)
    assert np.abs(found.at(0.3).value["mix"] - 3 * found.value["mix"]).max() <= 1e-15
    assert found.at(1e-4).verdict("a", "b", "mix").at_most < found.verdict("a", "b", "mix").at_most


def test_two_calls_give_the_same_numbers_and_nothing_is_disturbed(estimated):
    model = estimated[0]
    before = {name: p.clone() for name, p in model.state_dict().items()}
    state = torch.get_rng_state()
    first, again = noise_of(estimated), noise_of(estimated)
    assert np.array_equal(first.terms_replicates, again.terms_replicates)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_an_effect_read_from_json_takes_the_model_again(estimated):
    model, data, effect = estimated
    read = OrderEffect.from_json(json.dumps(json.loads(effect.to_json())))
    assert np.array_equal(
        noise_of((model, data, read)).terms_replicates, noise_of(estimated).terms_replicates
    )


def test_a_preconditioner_enters_the_fields_and_the_covariances(estimated):
    model, data, _ = estimated
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    squares(model, data["a"][0])[0].backward()
    state = {
        p: {"step": torch.tensor(1.0), "exp_avg_sq": torch.full_like(p, 1e-7)} for p in model.parameters()
    }
    optimizer.state.update({p: s | {"exp_avg": torch.zeros_like(p)} for p, s in state.items()})
    model.zero_grad(set_to_none=True)
    D = AdamPreconditioner.from_optimizer(optimizer)  # 1/√1e-4 everywhere
    options = {"targets": MIXING, "batches": 16, "method": "double-backward", "progress": False}
    plain = cv.order_effect(model, squares, data, **options)
    scaled = cv.order_effect(model, squares, data, preconditioner=D, **options)
    one = plain.noise(model, squares, data, lr=0.1, batches=16, progress=False)
    two = scaled.noise(model, squares, data, lr=0.1, batches=16, preconditioner=D, progress=False)
    assert np.abs(two.value["mix"] - 1e6 * one.value["mix"]).max() <= 1e-4 * np.abs(two.value["mix"]).max()
    with pytest.warns(UserWarning, match="slopes"):
        scaled.noise(model, squares, data, lr=0.1, batches=16, progress=False)


# --- verdicts


def answer(P, noise, spread=0.01, P_spread=0.01, lr=1.0):
    """A noise effect of two domains with a given P and given terms."""
    rng = np.random.default_rng(0)
    sign = np.array([[0.0, 1.0], [-1.0, 0.0]])
    P_replicates = (P + P_spread * rng.normal(size=(8, 1, 1, 1))) * sign
    terms = np.zeros((8, 1, 2, 2, 3))
    terms[..., 0] = (noise + spread * rng.normal(size=(8, 1, 1, 1))) * sign
    cost = Cost(1, 1, 1, 1, 0.0, 0)
    effect = OrderEffect(
        ("en", "ru"), {"mix": {"en": 1.0}}, P_replicates, np.ones((8, 1, 2)), cost, "double-backward"
    )
    return NoiseEffect(effect, ("mix",), lr, terms, cost)


@pytest.mark.parametrize(
    ("P", "noise", "spread", "matters", "words"),
    [
        (2.0, 0.03, 0.01, False, "does not matter for the order of en and ru and mix loss"),
        (2.0, -1.5, 0.01, True, "matters for the order"),
        (2.0, 0.2, 0.5, None, "It is not resolved whether at lr 1 the noise"),
    ],
)
def test_the_verdict_says_whether_noise_matters(P, noise, spread, matters, words):
    found = answer(P, noise, spread).verdict("en", "ru")
    assert found.matters is matters
    assert words in found.words
    assert f"{'at least' if matters else 'at most' if matters is False else 'between'} " in found.words
    assert found.at_least <= abs(found.value) / abs(found.P) <= found.at_most
    turned = answer(P, noise, spread).verdict("ru", "en")
    assert (turned.matters, turned.value, turned.P) == (matters, -found.value, -found.P)


def test_a_bound_is_the_end_of_the_interval_over_P():
    from scipy.stats import t

    found = answer(2.0, 0.1, spread=0.05).verdict("en", "ru")
    half = t.ppf(0.975, 7) * found.stderr
    assert abs(found.at_most - (abs(found.value) + half) / abs(found.P)) <= 1e-12
    assert found.at_most > abs(found.value) / abs(found.P)


def test_beside_a_P_of_no_resolved_sign_noise_is_held_against_its_error():
    found = answer(0.0, 0.001, spread=1e-5, P_spread=1.0).verdict("en", "ru")
    assert found.matters is False
    assert "whose sign is not resolved" in found.words
    assert "of the half-width of its interval" in found.words


def test_the_share_that_matters_can_be_asked_for():
    found = answer(2.0, 0.1, spread=1e-3)
    assert found.verdict("en", "ru").matters is False
    assert found.verdict("en", "ru", matters=0.01).matters is True


def test_text_and_html_show_every_pair_and_escape_names():
    found = answer(2.0, 0.1)
    assert "target  i   j   P" in repr(found)
    assert found.verdict("en", "ru").words.split(":")[0] in " ".join(repr(found).split())
    assert "<table>" in found._repr_html_()


# --- bad input


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 0}, "lr=0; give the run's learning rate"),
        ({"lr": [0.1]}, "lr is a list"),
        ({"batches": 8}, "batches=8; give a whole number of at least 16"),
        ({"batches_per_step": 0}, "batches_per_step=0; give how many"),
        ({"probes": 0}, "probes=0; give a whole number"),
        ({"targets": ["nl"]}, "give a list of some of the effect's: b, mix"),
        ({"targets": "mix"}, "give a list of some of the effect's"),
        ({"targets": []}, "give a list"),
        ({"batches": 60}, "holds 48 batches of the 60"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"preconditioner": {}}, "preconditioner is a dict"),
    ],
)
def test_bad_input_is_named_with_what_would_fit(estimated, options, words):
    with pytest.raises(CommuteError) as caught:
        noise_of(estimated, **options)
    assert words in str(caught.value)


def test_other_domains_than_the_effects_are_refused(estimated):
    model, data, effect = estimated
    with pytest.raises(CommuteError, match="domains a, b for an effect of a, b, c"):
        noise_of((model, {k: data[k] for k in "ab"}, effect))


def test_half_precision_and_dropout_are_refused(estimated):
    model, data, effect = estimated
    low = net().bfloat16()
    cast = {name: [(x.bfloat16(), y.bfloat16()) for x, y in own] for name, own in data.items()}
    with pytest.raises(CommuteError, match="give the model in float32 or float64"):
        noise_of((low, cast, effect))
    with pytest.raises(CommuteError, match=r"domain 'a', batch 1: the same batch gives two answers"):
        noise_of((nn.Sequential(nn.Dropout(0.5), model), data, effect))


def test_another_model_than_the_effects_is_warned_of(estimated):
    _, data, effect = estimated
    torch.manual_seed(9)
    other = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        other[2].weight *= 20
    with pytest.warns(UserWarning, match="not those of the effect"):
        noise_of((other, data, effect))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noise_of(estimated)


def test_float32_has_the_terms_of_float64_to_its_rounding(estimated):
    _, data, effect = estimated
    single = {name: [(x.float(), y.float()) for x, y in own] for name, own in data.items()}
    found, exact = noise_of((net().float(), single, effect)), noise_of(estimated)
    assert np.abs(found.value["mix"] - exact.value["mix"]).max() <= 1e-2 * np.abs(exact.value["mix"]).max()


def test_terms_of_another_shape_or_not_antisymmetric_are_refused():
    good = answer(2.0, 0.1)
    for wrong in (good.terms_replicates[..., :2], np.abs(good.terms_replicates), good.terms_replicates[:1]):
        with pytest.raises(CommuteError):
            NoiseEffect(good.effect, good.targets, 1.0, wrong, good.cost)
