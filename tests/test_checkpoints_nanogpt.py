"""nanoGPT's ckpt.pt against a module that is written as nanoGPT's is and knows nothing of transformers."""

import pickle

import pytest
import torch
from torch.nn.functional import cross_entropy

from commute_verify.checkpoints import nanogpt, read_checkpoint
from commute_verify.criterion import AdamPreconditioner
from commute_verify.errors import CommuteError
from tests import nanogpt_model
from tests.checkpoint_files import VOCABULARY

pytest.importorskip("transformers")
EPS = torch.finfo(torch.float32).eps


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def made(request):
    return nanogpt_model.trained(request.param, VOCABULARY)


def saved(folder, made, **options):
    return nanogpt_model.save(folder / "ckpt.pt", *made, **options)


def turned(name, tensor):
    return tensor.T if name.endswith(nanogpt.TURNED) else tensor


def gradients(model, logits, tokens):
    loss = cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_the_model_computes_what_nanogpt_computes(tmp_path, made, prefix):
    found = read_checkpoint(saved(tmp_path, made, prefix=prefix), tokenizer="bytes")
    tokens = torch.randint(VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(1))
    own, other = made[0], found.model
    expected, got = own(tokens), other(input_ids=tokens).logits
    assert (expected - got).abs().max() <= 100 * EPS * expected.abs().max()  # roundoff
    g, h = gradients(own, expected, tokens), gradients(other, got, tokens)
    assert g.keys() == h.keys()
    for name, one in g.items():
        assert (turned(name, one) - h[name]).abs().max() <= 1000 * EPS * one.abs().max(), name  # roundoff
    assert (found.step, found.kind) == (2000, "nanoGPT")


def test_adams_moments_follow_their_weights(tmp_path, made):
    found = read_checkpoint(saved(tmp_path, made), tokenizer="bytes")
    expected = AdamPreconditioner.from_optimizer(made[1]).on(made[0])
    got = found.preconditioner.on(found.model)
    assert expected.keys() == got.keys()
    assert all(torch.equal(turned(name, one), got[name]) for name, one in expected.items())
    assert found.lr == 1e-3


def test_a_step_of_the_optimizer_that_comes_back_is_the_step_of_nanogpt(tmp_path, made):
    found = read_checkpoint(saved(tmp_path, made), tokenizer="bytes")
    tokens = torch.randint(VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(1))
    optimizer = found.optimizer()
    for one, logits in (
        (made[1], made[0](tokens)),
        (optimizer, found.model(input_ids=tokens).logits),
    ):
        one.zero_grad()
        cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
        one.step()
    moved = dict(found.model.named_parameters())
    for name, p in made[0].named_parameters():
        assert (turned(name, p) - moved[name]).abs().max() <= 2e-5, (
            name
        )  # roundoff where g is 0; a step is 1e-3


@pytest.mark.parametrize("forgotten", nanogpt.TURNED)
def test_a_matrix_that_is_not_turned_would_be_noticed(tmp_path, monkeypatch, forgotten):
    made = nanogpt_model.trained(True, VOCABULARY)
    monkeypatch.setattr(nanogpt, "TURNED", tuple(name for name in nanogpt.TURNED if name != forgotten))
    path = saved(tmp_path, made)
    if forgotten != "attn.c_proj.weight":  # the one that is square
        with pytest.raises(CommuteError, match="has shape"):
            read_checkpoint(path, tokenizer="bytes")
        return
    found = read_checkpoint(path, tokenizer="bytes")
    tokens = torch.arange(20)[None]
    assert (made[0](tokens) - found.model(input_ids=tokens).logits).abs().max() > 0.01


def test_a_ckpt_asks_for_its_tokenizer_and_refuses_the_pickle(tmp_path, made):
    path = saved(tmp_path, made)
    with pytest.raises(CommuteError, match=r"knows 300 tokens.*meta\.pkl.*--tokenizer"):
        read_checkpoint(path)
    with pytest.raises(CommuteError, match="is a pickle, which may run code"):
        read_checkpoint(path, tokenizer=str(tmp_path / "meta.pkl"))


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda held: {"weights": held["model"]}, "is no ckpt.pt of nanoGPT"),
        (lambda held: held | {"config": Evil()}, "asks for more than tensors .* may run code"),
        (lambda held: held | {"model_args": {"n_layer": 2}}, "model_args lack n_head"),
        (lambda held: held | {"model_args": held["model_args"] | {"n_layer": 3}}, "of another model"),
        (lambda held: held | {"model_args": held["model_args"] | {"n_embd": 32}}, "has shape"),
        (lambda held: held | {"model_args": held["model_args"] | {"block_size": 10**12}}, "has shape"),
        (
            lambda held: held | {"model_args": held["model_args"] | {"n_head": 3}},
            "cannot be shared by n_head 3",
        ),
        (
            lambda held: held | {"model_args": held["model_args"] | {"n_head": 0}},
            "cannot be shared by n_head 0",
        ),
        (lambda held: held | {"model_args": 5}, "is no mapping"),
        (lambda held: held | {"model": 5}, "is no mapping"),
        (lambda held: held | {"model": dict.fromkeys(held["model"], 5)}, "no tensor"),
        (lambda held: held | {"optimizer": 5}, "holds no optimizer's state"),
    ],
    ids=[
        "another file",
        "evil",
        "no sizes",
        "more layers",
        "wider",
        "longer",
        "three heads",
        "no heads",
        "sizes of a number",
        "a model of a number",
        "numbers for weights",
        "an optimizer of a number",
    ],
)
def test_a_ckpt_of_another_kind_is_refused(tmp_path, change, told):
    path = saved(tmp_path, nanogpt_model.trained(True, VOCABULARY))
    torch.save(change(torch.load(path, weights_only=True)), path)
    with pytest.raises(CommuteError, match=told) as caught:
        read_checkpoint(path, tokenizer="bytes")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"the cat sat on a mat\n", "кот сидел".encode(), bytes(range(256)), pickle.dumps(Evil(), 4)],
    ids=["text", "letters", "bytes", "a newer pickle"],
)
def test_a_file_that_is_no_checkpoint_is_one_error_and_no_warning(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CommuteError) as caught:  # a warning would be another error
        read_checkpoint(tmp_path / "file", tokenizer="bytes")
    assert "\n" not in str(caught.value)


def test_a_ckpt_cut_short_is_refused(tmp_path):
    path = saved(tmp_path, nanogpt_model.trained(True, VOCABULARY))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CommuteError, match=r"cannot read|no file of torch\.save"):
        read_checkpoint(path, tokenizer="bytes")
