"""The words of ``commute-verify effect``, and the curvature that a window is measured by."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

import commute_verify as cv
from commute_verify.checkpoints import read_checkpoint
from commute_verify.cli.curvature import Curvature, largest_curvature
from commute_verify.cli.verdict import Window, needed, reach_words, said
from tests import checkpoint_files as files

pytest.importorskip("transformers")


def test_the_largest_curvature_is_that_of_the_dense_hessian(tmp_path):
    checkpoint = read_checkpoint(files.trainer_folder(tmp_path, files.taught())[0])
    checkpoint.model.requires_grad_(False)
    for name, p in checkpoint.model.named_parameters():
        p.requires_grad_("ln_1" in name or "ln_f" in name)
    held = [p for p in checkpoint.model.parameters() if p.requires_grad]
    batches = {name: files.windows(name, 4, 16) for name in ("en", "ru")}
    weights = {"en": 0.25, "ru": 0.75}
    checkpoint.model.set_attn_implementation("eager")
    total = 0.0
    for name, tokens in batches.items():
        loss, count = checkpoint.loss_fn(checkpoint.model, tokens)
        total = total + weights[name] * loss / count
    g = torch.cat([one.reshape(-1) for one in torch.autograd.grad(total, held, create_graph=True)])
    rows = [
        torch.cat([r.reshape(-1) for r in torch.autograd.grad(one, held, retain_graph=True)]) for one in g
    ]
    H = torch.stack(rows).double()
    D = checkpoint.preconditioner
    diagonal = torch.cat([one.reshape(-1) for one in D.on(checkpoint.model).values()]).double()
    for root, given in ((torch.ones(len(H)), None), (diagonal.sqrt(), D)):
        expected = float(torch.linalg.eigvalsh(root[:, None] * H * root).max())
        found = largest_curvature(checkpoint, batches, weights, given, 0)
        assert expected * 0.95 <= found.value <= expected * (1 + 1e-3)  # from below, after 12 products


@pytest.mark.parametrize(
    ("signs", "told"),
    [
        ((1, 1, 1), "All 3 pairs agree: c, then b, then a."),
        ((-1, -1, -1), "All 3 pairs agree: a, then b, then c."),
        ((1, -1, 1), "All 3 pairs are resolved, and go round in a circle"),
        ((1, 0, 1), "Of 3 pairs 2 are resolved; this is the clearest."),
    ],
)
def test_the_pairs_of_three_domains_make_an_order_or_none(signs, told):
    draw = np.random.default_rng(0)
    P = np.zeros((12, 1, 3, 3))
    for sign, (i, j) in zip(signs, ((0, 1), (0, 2), (1, 2)), strict=True):
        P[:, 0, i, j] = sign + 0.05 * draw.standard_normal(12) + (0.0 if sign else draw.standard_normal(12))
    mixing = {"mix": {"a": 0.5, "b": 0.25, "c": 0.25}}
    cost = cv.criterion.Cost(1, 1, 1, 1, 1.0, 0)
    effect = cv.OrderEffect(
        ("a", "b", "c"), mixing, P - P.swapaxes(2, 3), np.zeros((12, 1, 3)), cost, "double-backward"
    )
    assert told in said(effect, "mix", None, None).words


def test_the_batches_that_are_asked_for_would_resolve_the_pair_among_all_that_are_asked():
    draw = np.random.default_rng(1)
    P = draw.standard_normal((8, 1, 3, 3)) * 0.01
    P[:, 0, 0, 1] = 0.2 + stats.zscore(draw.standard_normal(8), ddof=1)
    P = P - P.swapaxes(2, 3)
    cost = cv.criterion.Cost(1, 1, 1, 1, 1.0, 0)
    mixing = {"mix": {"a": 0.5, "b": 0.25, "c": 0.25}}
    effect = cv.OrderEffect(("a", "b", "c"), mixing, P, np.zeros((8, 1, 3)), cost, "double-backward")
    value, error = effect.P["mix"][0, 1], effect.stderr["mix"][0, 1]
    first = (stats.t.ppf(1 - 0.05 / 3 / 2, 7) * error / value) ** 2
    alone = (stats.t.ppf(1 - 0.05 / 2, 7) * error / value) ** 2
    assert f"about {first:.0f} times as many" in needed(effect, "mix", "a", "b")
    assert f"{alone:.0f}" != f"{first:.0f}"  # planted: as if it were the only pair


def test_reach_is_steps_times_rate_times_curvature():
    held = Curvature(2.9, 5)
    assert reach_words(held, "", Window(10, 0.01))[0] is True  # 0.29 of 0.3
    assert reach_words(held, "", Window(12, 0.01))[0] is False
    assert "--window 10, or --predictor auto" in reach_words(held, "", Window(12, 0.01))[1]
    assert reach_words(None, "too large", Window(12, 0.01))[0] is None
    assert json.dumps(held.reach(12, 0.01))[:5] == "0.348"
