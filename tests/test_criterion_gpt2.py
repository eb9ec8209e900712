"""A real GPT-2, tiny and from a configuration, in float64: eager, fused and checkpointed."""

import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from commute_verify import CommuteError, hvp, order_effect
from commute_verify.criterion.hessian_products import METHODS
from tests.criterion_models import EPS, Dense, dense_P

transformers = pytest.importorskip("transformers", reason="the gpt2 extra brings it")
C = {
    "double-backward": 1e3 * EPS,
    "forward-over-reverse": 1e3 * EPS,
    "finite-difference": 1e3 * EPS ** (2 / 3),
}

pytestmark = pytest.mark.filterwarnings("ignore:the replicates do not differ")


def gpt2(attention):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=7,
        n_positions=8,
        n_embd=4,
        n_layer=1,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation=attention,
    )
    return transformers.GPT2LMHeadModel(config).double().eval()


def loss_fn(model, batch):
    """Summed cross-entropy of the next token from the logits in float64; −100 is padding."""
    tokens, labels = batch
    logits = model(input_ids=tokens).logits[:, :-1]
    targets = labels[:, 1:]
    total = F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-100, reduction="sum"
    )
    return total, (targets != -100).sum()


def batch(seed, rows):
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(7, (rows, 6), generator=draw)
    labels = tokens.clone()
    labels[0, 4:] = -100
    return tokens, labels


BATCHES = {"a": batch(0, 2), "b": batch(1, 1)}


@pytest.fixture(scope="module")
def dense():
    """Gradients and Hessians of both domains, from the eager model."""
    oracle = Dense(gpt2("eager"), loss_fn)
    g, H = ([f([b]) for b in BATCHES.values()] for f in (oracle.gradient, oracle.hessian))
    return oracle, g, H


def relative(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("method", METHODS)
def test_a_product_of_gpt2_equals_the_dense_one(method, attention, dense):
    oracle, g, H = dense
    vector = oracle.split(torch.from_numpy(g[1]))
    if attention == "sdpa" and method != "finite-difference":
        with pytest.raises(CommuteError, match="second derivative of attention"):
            hvp(gpt2(attention), loss_fn, BATCHES["a"], vector, method=method)
        return
    found = hvp(gpt2(attention), loss_fn, BATCHES["a"], vector, method=method)
    assert relative(oracle.flat(found), H[0] @ g[1]) <= C[method]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_P_of_gpt2_equals_the_dense_truth_where_there_is_no_noise(method, attention, dense):
    _, g, H = dense
    data = {name: [b] * 12 for name, b in BATCHES.items()}
    model = gpt2(attention)
    if attention == "sdpa" and method in METHODS[:2]:
        with pytest.raises(CommuteError, match='attn_implementation="eager"'):
            order_effect(model, loss_fn, data, batches=12, method=method, progress=False)
        return
    effect = order_effect(model, loss_fn, data, batches=12, method=method, progress=False)
    if attention == "sdpa":
        assert effect.method == "finite-difference"
    for target, u in {"a": g[0], "b": g[1], "mixture": (g[0] + g[1]) / 2}.items():
        scale = np.linalg.norm(g[0]) ** 2 * np.linalg.norm(H[0], 2)
        assert np.abs(effect.P[target] - dense_P(g, H, u)).max() <= C["finite-difference"] * scale


@pytest.mark.parametrize("method", METHODS)
def test_gpt2_checkpointed_without_reentry_gives_the_same(method, dense):
    oracle, g, H = dense
    model = gpt2("eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # another name from version 6 on
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()  # checkpointing is off in eval mode
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    found = hvp(model, loss_fn, BATCHES["a"], oracle.split(torch.from_numpy(g[1])), method=method)
    assert relative(oracle.flat(found), H[0] @ g[1]) <= C[method]


def test_gpt2_in_train_mode_is_refused():
    data = {name: [b] * 12 for name, b in BATCHES.items()}
    with pytest.raises(CommuteError, match=r"call model.eval\(\)"):
        order_effect(gpt2("eager").train(), loss_fn, data, batches=12, progress=False)
