"""Hugging Face folders, written by transformers itself: weights, tokenizer, Adam's state, and bad ones."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import cross_entropy

from commute_verify.checkpoints import adam_state, read_checkpoint
from commute_verify.criterion import AdamPreconditioner
from commute_verify.errors import CommuteError
from tests import checkpoint_files as files

pytest.importorskip("transformers")


def llama(**changed):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "max_position_embeddings": 64}
    return LlamaForCausalLM(LlamaConfig(vocab_size=files.VOCABULARY, **size, **ends, **changed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return files.save(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_a_saved_model_comes_back_in_eval_mode_with_its_tokenizer(folder):
    found = read_checkpoint(folder)
    model = files.model()
    assert found.model.training is False
    own = dict(model.named_parameters())
    assert all(torch.equal(p, own[name]) for name, p in found.model.named_parameters())
    assert found.tokenizer.encode("the cat") == files.tokenizer()("the cat")["input_ids"]
    assert (found.tokenizer.separator, found.preconditioner, found.lr) == (0, None, None)


def test_the_loss_is_the_summed_cross_entropy_of_every_next_token(folder):
    found, tokens = read_checkpoint(folder), files.windows("en", 3)
    logits = files.model().eval().double()(tokens).logits.detach()
    expected = sum(
        cross_entropy(logits[b, t], tokens[b, t + 1], reduction="sum") for b in range(3) for t in range(31)
    )
    with torch.no_grad():
        loss, count = found.loss_fn(found.model, tokens)
    assert count == 3 * 31
    assert abs(float(loss) - float(expected)) <= 1e-5 * float(expected)  # roundoff of float32


def test_half_precision_weights_are_read_as_float32(tmp_path):
    files.save(tmp_path, files.model().bfloat16())
    assert {p.dtype for p in read_checkpoint(tmp_path).model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("make", "changed"),
    [(files.model, {}), (llama, {}), (llama, {"optim": "adamw_torch"})],
    ids=["gpt2", "llama", "llama-unfused"],
)
def test_the_trainers_second_moments_belong_to_the_parameters_that_it_trained(tmp_path, make, changed):
    where, trainer = files.trainer_folder(tmp_path, make(), **changed)
    found = read_checkpoint(where)
    torch_own = trainer.optimizer
    own = AdamPreconditioner.from_optimizer(getattr(torch_own, "optimizer", torch_own)).on(trainer.model)
    read = found.preconditioner.on(found.model)
    assert read.keys() == own.keys()
    assert all(torch.equal(read[name], own[name]) for name in own)
    assert (found.step, found.lr) == (2, 1e-3)
    decay = found.preconditioner.weight_decay
    assert {name for name, by in decay.items() if by == 0.1} == {
        name for name, p in found.model.named_parameters() if p.ndim == 2
    }
    assert "the Trainer's order" in found.notes[0]


def test_a_state_in_another_order_would_be_noticed(tmp_path, monkeypatch):
    where, trainer = files.trainer_folder(tmp_path, files.model())
    right = read_checkpoint(where).preconditioner.on(trainer.model)

    def swapped(model):
        """As if the blocks stood in the other order."""
        return [
            [n.replace("h.0", "h.x").replace("h.1", "h.0").replace("h.x", "h.1") for n in names]
            for names in adam_state.by_dimension(model)
        ]

    monkeypatch.setattr(adam_state, "trainers", swapped)
    planted = read_checkpoint(where).preconditioner.on(trainer.model)
    assert not all(torch.equal(planted[name], right[name]) for name in right)


def test_the_optimizer_comes_back_ready_to_step(tmp_path):
    where, trainer = files.trainer_folder(tmp_path, files.model())
    found = read_checkpoint(where)
    read = found.optimizer()
    moments = {name: read.state[p]["exp_avg"] for name, p in found.model.named_parameters()}
    held = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    assert type(read) is torch.optim.AdamW
    assert all(
        torch.equal(moments[name], held.state[p]["exp_avg"]) for name, p in trainer.model.named_parameters()
    )


def test_another_optimizer_gives_plain_gradients_and_says_so(copy):
    model = files.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(files.windows("en", 2)).logits.sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), copy / "optimizer.pt")
    found = read_checkpoint(copy)
    assert found.preconditioner is None
    assert "not of Adam" in found.notes[0]


def test_groups_that_fit_no_known_order_are_refused(copy):
    model = files.model()
    first, *rest = model.parameters()
    optimizer = torch.optim.AdamW([{"params": rest}, {"params": [first]}], lr=0.1)
    model(files.windows("en", 2)).logits.sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), copy / "optimizer.pt")
    with pytest.raises(CommuteError, match=r"groups of 27, 1 parameters do not fit the model's 28"):
        read_checkpoint(copy)


MOMENTS = {0: {"exp_avg_sq": torch.ones(2), "step": 1}}
GROUP = {"params": [0], "betas": (0.9, 0.99), "amsgrad": False, "lr": 0.1}


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (torch.zeros(2), "holds no optimizer's state"),
        ([1, 2], "holds no optimizer's state"),
        ({"state": MOMENTS, "param_groups": []}, "holds no optimizer's state"),
        ({"state": {0: 5}, "param_groups": [GROUP]}, "holds no optimizer's state"),
        ({"state": MOMENTS, "param_groups": [{**GROUP, "params": 0}]}, "holds no optimizer's state"),
        ({"state": {**MOMENTS, 1: {}}, "param_groups": [GROUP]}, "lacks the second moments of 1"),
        (
            {"state": MOMENTS, "param_groups": [{k: v for k, v in GROUP.items() if k != "lr"}]},
            "lacks a learning rate",
        ),
    ],
)
def test_a_state_that_no_optimizer_saved_is_one_error(copy, state, told):
    torch.save(state, copy / "optimizer.pt")
    with pytest.raises(CommuteError, match=told) as caught:
        read_checkpoint(copy)
    assert "\n" not in str(caught.value)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


def test_a_pickle_that_wants_to_run_code_is_refused_and_not_run(copy):
    torch.save({"state": Evil()}, copy / "optimizer.pt")
    with pytest.raises(CommuteError, match=r"asks for more than tensors \(\S*exec\) and may run code"):
        read_checkpoint(copy)
    (copy / "optimizer.pt").unlink()
    (copy / "model.safetensors").unlink()
    torch.save({"transformer.wte.weight": Evil()}, copy / "pytorch_model.bin")
    with pytest.raises(
        CommuteError, match=r"weights in a pickle that asks for more than tensors \(\S*exec\)"
    ):
        read_checkpoint(copy)


def test_the_pickle_that_is_refused_would_have_run():
    with pytest.raises(SystemExit, match="it ran"):
        pickle.loads(pickle.dumps(Evil()))


def test_code_that_comes_with_a_model_is_not_run(copy):
    config = json.loads((copy / "config.json").read_text())
    own = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (copy / "config.json").write_text(json.dumps(config | own))
    (copy / "evil.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(CommuteError, match="cannot read"):
        read_checkpoint(copy)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt"])
def test_a_file_cut_short_is_one_clear_error(copy, part, name):
    model = files.model()
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=0.1)
    model(files.windows("en", 2)).logits.sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), copy / "optimizer.pt")
    read_checkpoint(copy)
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(CommuteError, match=r"cannot read|cut short|no file of torch\.save") as caught:
        read_checkpoint(copy)
    assert "\n" not in str(caught.value)


def test_weights_that_are_missing_are_not_made_up(copy):
    from safetensors.torch import load_file, save_file

    held = load_file(copy / "model.safetensors")
    del held["transformer.h.1.mlp.c_fc.weight"]
    save_file(held, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CommuteError, match=r"lacks weights .*h\.1\.mlp\.c_fc\.weight"):
        read_checkpoint(copy)


def test_a_missing_tokenizer_is_named_and_bytes_stand_for_it(copy):
    for path in [*copy.glob("tokenizer*"), *copy.glob("special_tokens*")]:
        path.unlink()
    with pytest.raises(CommuteError, match=r"tokenizer in .* give --tokenizer"):
        read_checkpoint(copy)
    assert read_checkpoint(copy, tokenizer="bytes").tokenizer.encode("né") == [110, 195, 169]


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ((), "holds neither config.json"),
        (("checkpoint-10/", "checkpoint-20/"), "did you mean .*checkpoint-20"),
        (("adapter_config.json",), "is an adapter; merge it"),
    ],
)
def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path, held, told):
    for name in held:
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).write_text("{}")
    with pytest.raises(CommuteError, match=told):
        read_checkpoint(tmp_path)
    with pytest.raises(CommuteError, match="does not exist"):
        read_checkpoint(tmp_path / "nothing")


def test_a_name_that_is_neither_here_nor_on_the_hub_is_one_error(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        CommuteError, match=r"nosuch/model is no folder here, and the Hugging Face hub does not"
    ):
        read_checkpoint("nosuch/model")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(CommuteError, match="does not exist"):
        read_checkpoint("runs/checkpoint-5")


def test_a_name_on_the_hub_is_read_from_what_was_downloaded_of_it(folder, tmp_path):
    commit, held = "0" * 40, tmp_path / "models--tiny--cats"
    shutil.copytree(folder, held / "snapshots" / commit)
    (held / "refs").mkdir()
    (held / "refs" / "main").write_text(commit)
    read = (
        "from commute_verify.checkpoints import read_checkpoint; import sys;"
        "found = read_checkpoint(sys.argv[1]);"
        "print(sum(p.numel() for p in found.model.parameters()), found.tokenizer.encode('the cat'))"
    )
    done = [
        subprocess.run(
            [sys.executable, "-c", read, name],
            capture_output=True,
            text=True,
            env=os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"},
            check=False,
        )
        for name in ("tiny/cats", "tiny/dogs")
    ]
    count = sum(p.numel() for p in files.model().parameters())
    assert done[0].stdout.strip() == f"{count} {files.tokenizer()('the cat')['input_ids']}", done[0].stderr
    assert "tiny/dogs is no folder here" in done[1].stderr
