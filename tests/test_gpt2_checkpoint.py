"""Checkpoints: whole or absent, the same bits back, and readable by transformers."""

import json
import os
import shutil

import pytest
import torch
import transformers

import commute_verify as cv
from commute_verify import CommuteError
from commute_verify.checkpoints import read_checkpoint
from experiments.gpt2 import checkpoint
from experiments.gpt2.checkpoint import State
from experiments.gpt2.model import build, end_documents, loss_fn, optimizer_for
from tests import gpt2_small as small


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return small.build(tmp_path_factory.mktemp("shards") / "shards")


@pytest.fixture(scope="module")
def trained():
    """A model and an AdamW that have taken two steps."""
    model = build(small.SIZE, 0)
    end_documents(model, 0)
    optimizer = optimizer_for(model, small.changed(weight_decay=0.1))
    for step in range(2):
        windows = torch.randint(small.VOCABULARY, (4, 17), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss_fn(model, windows)[0].backward()
        optimizer.step()
    return model, optimizer


@pytest.fixture
def run(tmp_path, shards, trained):
    """A run with checkpoints after 2 and 4 steps."""
    for step in (2, 4):
        save(tmp_path, shards, trained, step)
    return tmp_path


def save(run, shards, trained, step):
    model, optimizer = trained
    state = State(
        step,
        {"en": step, "ru": 0},
        small.SETTINGS,
        shards.tokenizer_digest,
        shards.key,
        checkpoint.rng_states(),
    )
    folder = checkpoint.folder_of(run, step)
    return checkpoint.save(folder, model, optimizer, shards.tokenizer_folder, state)


def test_the_command_line_reads_a_checkpoint_with_its_second_moments(run, trained):
    model, optimizer = trained
    found = read_checkpoint(checkpoint.folder_of(run, 4))
    expected = cv.AdamPreconditioner.from_optimizer(optimizer).on(model)
    got = found.preconditioner.on(found.model)
    assert expected.keys() == got.keys()
    assert all(torch.equal(one, got[name]) for name, one in expected.items())
    assert (found.step, found.lr) == (4, optimizer.param_groups[0]["lr"])


def same(first, second):
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_a_checkpoint_comes_back_bit_for_bit(run, trained):
    model, optimizer = trained
    found = checkpoint.load(checkpoint.folder_of(run, 4))
    assert (found.state.step, found.state.cursor) == (4, {"en": 4, "ru": 0})
    assert found.state.settings == small.SETTINGS
    assert same(found.model(), model)
    again = optimizer_for(found.model(), small.changed(weight_decay=0.1))
    again.load_state_dict(found.optimizer_state())
    for one, other in zip(
        optimizer.state_dict()["state"].values(), again.state_dict()["state"].values(), strict=True
    ):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_transformers_opens_it_with_its_tokenizer(run, trained, shards, capfd):
    folder = checkpoint.folder_of(run, 4)
    assert same(transformers.AutoModelForCausalLM.from_pretrained(folder), trained[0])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = "bado kemi.\n"
    config = transformers.AutoConfig.from_pretrained(folder)
    assert config.architectures == ["GPT2LMHeadModel"]
    ends = transformers.GenerationConfig.from_pretrained(folder).eos_token_id
    assert config.eos_token_id == ends == tokenizer.eos_token_id == 0
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) == shards.vocabulary


def test_transformers_would_have_written_the_same_weights(run, trained, tmp_path):
    trained[0].save_pretrained(tmp_path / "theirs")
    ours = (checkpoint.folder_of(run, 4) / "model.safetensors").read_bytes()
    assert ours == (tmp_path / "theirs" / "model.safetensors").read_bytes()


def test_the_optimizer_state_is_the_preconditioner_of_the_criterion(run, trained):
    found = checkpoint.load(checkpoint.folder_of(run, 4))
    saved = cv.AdamPreconditioner.from_state_dict(found.optimizer_state(), found.model())
    live = cv.AdamPreconditioner.from_optimizer(trained[1])
    ours, theirs = saved.on(found.model()), live.on(trained[0])
    assert ours.keys() == theirs.keys() == dict(trained[0].named_parameters()).keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_random_generators_come_back():
    states = checkpoint.rng_states()
    first = torch.rand(3)
    checkpoint.restore_rng(json.loads(json.dumps(states)))
    assert torch.equal(torch.rand(3), first)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rewrite(folder, seal=True, **changed):
    """Change state.json, and its digest with it, or not."""
    held = json.loads((folder / "state.json").read_text()) | changed
    if seal:
        held["digest"] = checkpoint._seal({name: value for name, value in held.items() if name != "digest"})
    (folder / "state.json").write_text(json.dumps(held))


DAMAGES = {
    "another cursor": lambda folder: rewrite(folder, seal=False, cursor={"en": 3, "ru": 0}),
    "no digest": lambda folder: rewrite(folder, seal=False, digest=None),
    "no cursor": lambda folder: rewrite(folder, cursor={}),
    "a cursor that is no mapping": lambda folder: rewrite(folder, cursor=[4]),
    "half a window": lambda folder: rewrite(folder, cursor={"en": 0.5, "ru": 0}),
    "no generators": lambda folder: rewrite(folder, rng={}),
    "generators that are none": lambda folder: rewrite(folder, rng={"cpu": "AAAA"}),
    "a step that is text": lambda folder: rewrite(folder, step="4"),
    "a step of another folder": lambda folder: rewrite(folder, step=3),
    "no checksums": lambda folder: rewrite(folder, sha256={}),
    "a state that is a list": lambda folder: (folder / "state.json").write_text("[]"),
    "a bit of the weights": lambda folder: flip_a_bit(folder / "model.safetensors"),
    "a bit of the optimizer": lambda folder: flip_a_bit(folder / "optimizer.pt"),
    "a bit of the tokenizer": lambda folder: flip_a_bit(folder / "tokenizer.json"),
    "half of the weights": lambda folder: os.truncate(folder / "model.safetensors", 1000),
    "no optimizer": lambda folder: (folder / "optimizer.pt").unlink(),
    "no state": lambda folder: (folder / "state.json").unlink(),
    "half of the state": lambda folder: os.truncate(folder / "state.json", 40),
    "another format": lambda folder: (folder / "state.json").write_text('{"format": "x", "version": 1}'),
    "an empty folder": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_and_named(run, damage, capsys):
    assert checkpoint.latest(run).state.step == 4
    assert capsys.readouterr().err == ""
    DAMAGES[damage](checkpoint.folder_of(run, 4))
    assert checkpoint.latest(run).state.step == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "step-00000004" in told
    with pytest.raises(CommuteError, match="step-00000004"):
        checkpoint.load(checkpoint.folder_of(run, 4))


def test_a_run_whose_checkpoints_are_all_damaged_has_none(run):
    for step in (2, 4):
        (checkpoint.folder_of(run, step) / "state.json").unlink()
    assert checkpoint.latest(run) is None
    assert checkpoint.latest(run / "nothing") is None


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_saved(run, shards, trained, monkeypatch, broken):
    def full(*given):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, broken, full)
        with pytest.raises(CommuteError, match="No space left on device"):
            save(run, shards, trained, 6)
    assert checkpoint.steps_saved(run) == [2, 4]
    assert checkpoint.latest(run).state.step == 4
    assert not list((run / "checkpoints").glob(".*"))


def test_a_save_that_was_killed_leaves_nothing_that_passes_for_a_checkpoint(run, shards, trained):
    left = run / "checkpoints" / ".step-00000006.partial-1"
    shutil.copytree(checkpoint.folder_of(run, 4), left)
    assert checkpoint.steps_saved(run) == [2, 4]
    checkpoint.sweep(run)
    assert not left.exists()


def test_weights_of_another_model_are_refused(run):
    folder = checkpoint.folder_of(run, 4)
    held = json.loads((folder / "state.json").read_text())
    held["settings"]["architecture"]["layers"] = 2
    rewrite(folder, settings=held["settings"])
    with pytest.raises(CommuteError, match="of another model"):
        checkpoint.load(folder).model()


def test_a_checkpoint_of_the_version_without_a_digest_is_still_read(run):
    folder = checkpoint.folder_of(run, 4)
    held = json.loads((folder / "state.json").read_text()) | {"version": 1}
    del held["digest"]
    (folder / "state.json").write_text(json.dumps(held))
    assert checkpoint.load(folder).state.cursor == {"en": 4, "ru": 0}


class Planted:
    """What a hostile optimizer.pt would run when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("planted",)


def test_an_optimizer_state_that_would_run_code_is_not_unpickled(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = checkpoint.folder_of(run, 4)
    torch.save({"state": Planted()}, folder / "optimizer.pt")
    held = json.loads((folder / "state.json").read_text())
    rewrite(folder, sha256=held["sha256"] | {"optimizer.pt": checkpoint._sha256(folder / "optimizer.pt")})
    with pytest.raises(CommuteError, match=r"optimizer\.pt"):
        checkpoint.load(folder).optimizer_state()
    assert not (tmp_path / "planted").exists()
