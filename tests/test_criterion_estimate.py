"""All pairs for all targets: equal to dense float64 autograd, weighted, by the fewest passes, and counted."""

import numpy as np
import pytest
import torch
from torch import nn

from commute_verify import AdamPreconditioner, order_effect
from commute_verify.criterion import replicate, run
from commute_verify.criterion.hessian_products import METHODS
from commute_verify.criterion.replicate import passes
from commute_verify.criterion.sampling import Supply, group_sizes
from tests.criterion_models import CASES, EPS, Dense, dense_P, regression, squares, tiny_lm

TARGETS = {"mix": {"a": 0.5, "b": 0.25, "c": 0.25}, "c": {"c": 1.0}}
C = {
    "double-backward": 1e3 * EPS,
    "forward-over-reverse": 1e3 * EPS,
    "finite-difference": 1e3 * EPS ** (2 / 3),
}
"""Roundoff of products of three dense factors, relative to the terms of P."""

pytestmark = pytest.mark.filterwarnings("ignore:the replicates do not differ")


def dense_effect(case, groups, targets, D=None):
    """{target: P} and the size of its terms, from dense gradients and Hessians of weighted means."""
    dense = Dense(case.model, case.loss_fn)
    g = {name: dense.gradient(group) for name, group in groups.items()}
    H = {name: dense.hessian(group) for name, group in groups.items()}
    u = {name: sum(w * g[k] for k, w in weights.items()) for name, weights in targets.items()}
    found = {name: dense_P(list(g.values()), list(H.values()), target, D) for name, target in u.items()}
    largest = max(np.linalg.norm(v) for v in g.values()) ** 2 * max(np.linalg.norm(h, 2) for h in H.values())
    return found, largest * (1.0 if D is None else float(np.max(D)) ** 2)


def repeated(case, times=12):
    """Every batch of a domain the same: no sampling noise, and the truth is the batch's own."""
    return {name: [batch] * times for name, batch in case.batches.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_without_sampling_noise_P_equals_the_dense_truth(name, method):
    case = CASES[name]()
    expected, size = dense_effect(case, {k: [b] for k, b in case.batches.items()}, TARGETS)
    effect = order_effect(
        case.model, case.loss_fn, repeated(case), targets=TARGETS, batches=12, method=method, progress=False
    )
    for target in TARGETS:
        assert np.abs(effect.P[target] - expected[target]).max() <= C[method] * size
        assert np.array_equal(effect.P[target], -effect.P[target].T)


@pytest.mark.parametrize("planted", ["sign", "half", "transposed Hessians' roles", "unweighted mean"])
def test_the_comparison_with_the_dense_truth_rejects_a_planted_error(planted):
    case = tiny_lm()
    groups = {k: [b, CASES["frozen parameters"]().batches[k][:1]] for k, b in case.batches.items()}
    expected, size = dense_effect(case, groups, TARGETS)
    separate = [dense_effect(case, {k: [b[n]] for k, b in groups.items()}, TARGETS)[0] for n in (0, 1)]
    wrong = {
        "sign": -expected["mix"],
        "half": expected["mix"] / 2,
        "transposed Hessians' roles": expected["c"],
        "unweighted mean": (separate[0]["mix"] + separate[1]["mix"]) / 2,
    }[planted]
    assert np.abs(wrong - expected["mix"]).max() > C["finite-difference"] * size


def test_both_ways_lead_to_the_same_P_and_slopes(monkeypatch):
    case = tiny_lm()
    found = []
    for way in (True, False):
        monkeypatch.setattr(replicate, "by_target", lambda T, K, way=way: way)
        effect = order_effect(
            case.model,
            case.loss_fn,
            repeated(case),
            targets=TARGETS,
            batches=12,
            method="double-backward",
            progress=False,
        )
        found.append(effect)
    size = dense_effect(case, {k: [b] for k, b in case.batches.items()}, TARGETS)[1]
    assert np.abs(found[0].P_replicates - found[1].P_replicates).max() <= C["double-backward"] * size
    slopes = [effect.slope_replicates for effect in found]
    assert np.abs(slopes[0] - slopes[1]).max() <= 1e3 * EPS * np.abs(slopes[0]).max()


@pytest.mark.parametrize("targets", [TARGETS, None])
def test_products_held_or_not_give_the_same_estimate_for_other_numbers_of_gradients(targets, monkeypatch):
    case = tiny_lm()
    draw = torch.Generator().manual_seed(0)
    data = {
        name: [batch[torch.randint(len(batch), (n % 3 + 1,), generator=draw)] for n in range(20)]
        for name, batch in case.batches.items()
    }
    found = []
    for held in (True, False):
        for module in (replicate, run):
            monkeypatch.setattr(module, "holds", lambda T, K, held=held: held)
        found.append(
            order_effect(
                case.model, case.loss_fn, data, targets=targets, batches=20, method=METHODS[1], progress=False
            )
        )
    one, other = found
    size = np.abs(one.P_replicates).max() + np.abs(one.rounding).max() / EPS
    assert np.abs(one.P_replicates - other.P_replicates).max() <= 1e3 * EPS * size
    assert np.abs(one.slope_replicates - other.slope_replicates).max() <= 1e3 * EPS * size
    field = 4 * 3 * 3  # replicates, batches, domains
    assert other.cost.gradient_passes == one.cost.gradient_passes + field
    assert other.cost.evaluations == one.cost.evaluations + field


def test_slopes_are_the_products_of_gradients():
    case = tiny_lm()
    dense = Dense(case.model, case.loss_fn)
    g = {name: dense.gradient([batch]) for name, batch in case.batches.items()}
    effect = order_effect(
        case.model,
        case.loss_fn,
        repeated(case),
        targets=TARGETS,
        batches=12,
        method="double-backward",
        progress=False,
    )
    for t, weights in enumerate(TARGETS.values()):
        u = sum(w * g[name] for name, w in weights.items())
        expected = np.array([g[name] @ u for name in "abc"])
        assert np.abs(effect.slope_replicates[:, t] - expected).max() <= 1e3 * EPS * np.abs(expected).max()


@pytest.mark.parametrize("way", [True, False])
def test_with_a_preconditioner_P_is_that_of_the_preconditioned_fields(way, monkeypatch):
    monkeypatch.setattr(replicate, "by_target", lambda T, K: way)
    case = tiny_lm()
    optimizer = torch.optim.Adam(case.model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        sum(case.loss_fn(case.model, batch)[0] for batch in case.batches.values()).backward()
        optimizer.step()
    D = AdamPreconditioner.from_optimizer(optimizer)
    dense = Dense(case.model, case.loss_fn)
    diagonal = dense.flat(D.on(case.model))
    expected, size = dense_effect(case, {k: [b] for k, b in case.batches.items()}, TARGETS, diagonal)
    effect = order_effect(
        case.model,
        case.loss_fn,
        repeated(case),
        targets=TARGETS,
        batches=12,
        method="double-backward",
        preconditioner=D,
        progress=False,
    )
    plain = dense_effect(case, {k: [b] for k, b in case.batches.items()}, TARGETS)[0]
    for target in TARGETS:
        assert np.abs(effect.P[target] - expected[target]).max() <= C["double-backward"] * size
        assert np.abs(plain[target] - expected[target]).max() > C["double-backward"] * size


def ratio(parts, weights, known):
    """The sums' mean over the mean weight, expanded to first order about the mean of all weights known."""
    s, w = np.array(parts) * np.reshape(weights, (-1, *[1] * np.ndim(parts[0]))), np.array(weights)
    n, W = len(w), np.mean(known)
    if n == 1:
        return s[0] / W
    covariance = np.tensordot(w - w.mean(), s - s.mean(axis=0), 1) / (n - 1)
    expanded = s.mean(axis=0) * (2 - w.mean() / W) + covariance / (n * W)
    return expanded / (W + np.var(known, ddof=1) / (len(known) * W))


def contraction(g, H, raw, weights, way):
    """⟨g_i, H_j u⟩; by domain, ⟨g_i, H_j u_j⟩ takes both gradients from the target's batches."""
    gram = np.zeros((len(g), len(g)))
    for i in g:
        for j in g:
            for c, w in weights.items():
                left = raw[i] if c == j and not way else g[i]
                gram["abc".index(i), "abc".index(j)] += w * left @ H[j] @ raw[c]
    return gram - gram.T


@pytest.mark.parametrize("way", [True, False])
def test_averages_over_ragged_batches_are_weighted_by_the_returned_weights(way, monkeypatch):
    monkeypatch.setattr(replicate, "by_target", lambda T, K: way)
    case = tiny_lm()
    draw = torch.Generator().manual_seed(0)
    data = {
        name: [batch[torch.randint(len(batch), (n % 4 + 1,), generator=draw)] for n in range(24)]
        for name, batch in case.batches.items()
    }
    effect = order_effect(
        case.model, case.loss_fn, data, targets=TARGETS, batches=24, method=METHODS[0], progress=False, seed=5
    )
    dense, supply, known = Dense(case.model, case.loss_fn), Supply(data, 5), {name: [] for name in data}
    for number, size in enumerate(group_sizes(24)):
        roles = {name: supply.roles(name, size) for name in data}
        field, target = (
            {name: [drawn.batch for drawn in getattr(r, role)] for name, r in roles.items()}
            for role in ("field", "target")
        )
        weights = {b: float(case.loss_fn(case.model, b)[1]) for r in roles.values() for g in r for _, b in g}
        raw, g, H = {}, {}, {}
        for name, group in target.items():
            own = [weights[b] for b in group]
            known[name] += own
            raw[name] = ratio([dense.gradient([b]) for b in group], own, known[name])
        for name, group in field.items():
            own = [weights[b] for b in group]
            known[name] += own
            g[name] = ratio([dense.gradient([b]) for b in group], own, known[name])
            H[name] = ratio([dense.hessian([b]) for b in group], own, known[name])
        unweighted = {name: np.mean([dense.gradient([b]) for b in bs], axis=0) for name, bs in target.items()}
        for t, mixing in enumerate(TARGETS.values()):
            expected, wrong = (contraction(g, H, u, mixing, way) for u in (raw, unweighted))
            scale = 1 + np.abs(expected).max()
            assert np.abs(effect.P_replicates[number, t] - expected).max() <= 1e4 * EPS * scale
            assert np.abs(wrong - expected).max() > 1e4 * EPS * scale


@pytest.mark.parametrize("rows", [(2, 2), (1, 3)])
def test_ragged_weights_are_noted_with_their_variation(rows):
    draw = torch.Generator().manual_seed(0)
    data = {
        name: [regression(draw, n) for n in (counts * 6)] for name, counts in (("a", (2, 2)), ("b", rows))
    }
    effect = order_effect(nn.Linear(2, 1).double(), squares, data, batches=12, progress=False)
    told = [note for note in effect.notes if "consistent, not unbiased" in note]
    assert told == ([] if rows == (2, 2) else ["batch weights vary (b 50%): P is consistent, not unbiased"])


def counted(K, targets):
    """The effect and the calls of the loss, from 4 replicates of a batch for each role."""
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = nn.Linear(2, 1, bias=False).double()
    calls = []

    def loss_fn(m, batch):
        calls.append(len(batch[0]))
        return squares(m, batch)

    data = {f"d{k}": [regression(draw, k + 1) for _ in range(8)] for k in range(K)}
    effect = order_effect(
        model, loss_fn, data, targets=targets, batches=8, method="forward-over-reverse", progress=False
    )
    return effect, len(calls)


@pytest.mark.parametrize(("K", "products"), [(2, 2), (3, 3), (4, 4), (8, 8)])
def test_one_target_takes_K_products_and_K_gradients(K, products):
    effect, calls = counted(K, {"mix": {f"d{k}": 1 / K for k in range(K)}})
    assert effect.cost.hvps_per_estimate == products == passes(1, K)
    assert effect.cost.hvp_passes == 4 * K
    assert effect.cost.gradient_passes == 4 * K
    assert effect.cost.evaluations == calls


@pytest.mark.parametrize("K", [2, 3, 5])
def test_every_domain_as_target_takes_K_times_K_less_1_products(K):
    effect, calls = counted(K, None)
    assert effect.targets == (*(f"d{k}" for k in range(K)), "mixture")
    assert effect.cost.hvps_per_estimate == K * (K - 1)
    assert effect.cost.hvp_passes == 4 * K * (K - 1)
    assert effect.cost.gradient_passes == 4 * (K if K <= 3 else 2 * K)  # held products
    assert effect.cost.evaluations == calls


@pytest.mark.parametrize(("K", "targets"), [(2, 1), (3, 1), (4, 1), (4, 2), (4, 4), (5, 3)])
def test_the_passes_stated_are_the_passes_made(K, targets):
    mixing = {f"t{t}": {f"d{t}": 0.5, f"d{(t + 1) % K}": 0.5} for t in range(targets)}
    one, calls = counted(K, mixing)
    probe_alone = calls - one.cost.gradient_passes - one.cost.hvp_passes
    other, other_calls = counted(K, None)
    assert other_calls - other.cost.gradient_passes - other.cost.hvp_passes == probe_alone
    assert one.cost.hvps_per_estimate == min(targets * K, K * (K - 1))


def test_every_batch_is_used_once_and_no_two_roles_share_one():
    seen = []

    def loss_fn(m, batch):
        seen.append(batch)
        return m(torch.ones(1, 1)).square().sum(), 1

    data = {name: list(range(k, k + 40)) for k, name in ((0, "a"), (100, "b"))}
    order_effect(nn.Linear(1, 1), loss_fn, data, batches=40, method="double-backward", progress=False)
    after_the_probe = seen[-80:]  # one evaluation for every batch: two targets' products share a graph
    assert sorted(after_the_probe) == sorted(data["a"] + data["b"])


def test_a_seed_gives_the_same_numbers_and_another_seed_gives_others():
    case = tiny_lm()
    draw = torch.Generator().manual_seed(0)
    data = {
        name: [batch[torch.randint(len(batch), (2,), generator=draw)] for _ in range(12)]
        for name, batch in case.batches.items()
    }
    one, two, other = (
        order_effect(case.model, case.loss_fn, data, batches=12, method=METHODS[0], progress=False, seed=s)
        for s in (0, 0, 1)
    )
    assert np.array_equal(one.P_replicates, two.P_replicates)
    assert not np.array_equal(one.P_replicates, other.P_replicates)


def test_a_shuffled_loader_is_read_by_the_seed_alone():
    case = tiny_lm()
    draw = torch.Generator().manual_seed(0)
    data = {
        name: torch.utils.data.DataLoader(
            batch[torch.randint(len(batch), (24,), generator=draw)], batch_size=2, shuffle=True
        )
        for name, batch in case.batches.items()
    }
    found = []
    for state in (1, 2):
        torch.manual_seed(state)
        found.append(
            order_effect(case.model, case.loss_fn, data, batches=12, method=METHODS[0], progress=False)
        )
    assert np.array_equal(found[0].P_replicates, found[1].P_replicates)


def test_one_replicate_of_more_batches_is_exact_too():
    case = tiny_lm()
    expected, size = dense_effect(case, {k: [b] for k, b in case.batches.items()}, TARGETS)
    effect = order_effect(
        case.model,
        case.loss_fn,
        repeated(case, 31),
        targets=TARGETS,
        batches=31,
        method=METHODS[1],
        progress=False,
    )
    assert np.abs(effect.P["mix"] - expected["mix"]).max() <= C[METHODS[1]] * size
