"""The callbacks in the real trainers: a run that does not notice them, what they write, and a resume."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import commute_verify as cv

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
lightning = pytest.importorskip("lightning.pytorch")

from commute_verify.integrations import hf  # noqa: E402
from commute_verify.integrations import lightning as li  # noqa: E402

MIX = {"mix": {"en": 0.5, "ru": 0.5}}
OPTIONS = {"targets": MIX, "batches": 8, "method": "double-backward"}
NAMES = ["commute/P/en-ru→mix", "commute/P/en-ru→mix/stderr"]
pytestmark = pytest.mark.filterwarnings("ignore")  # the trainers' own


def tokens(rows, low=0, high=16):
    return torch.randint(low, high, (rows, 7), generator=torch.Generator().manual_seed(low))


def alphabets():
    return {"en": tokens(32, 0, 12).split(2), "ru": tokens(32, 8, 16).split(2)}


def bits(module):
    return [p.detach().numpy().tobytes() for p in module.parameters()]


# transformers


def hf_domains():
    return {name: [{"input_ids": t, "labels": t} for t in parts] for name, parts in alphabets().items()}


def hf_trainer(folder, callbacks=(), **arguments):
    torch.manual_seed(0)
    size = {"vocab_size": 16, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
    config = transformers.GPT2Config(**size, bos_token_id=0, eos_token_id=0, attn_implementation="eager")
    given = {
        "output_dir": str(folder),
        "max_steps": 6,
        "save_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "logging_steps": 3,
        "per_device_train_batch_size": 4,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
    }
    rows = [{"input_ids": row, "labels": row} for row in tokens(16)]
    return transformers.Trainer(
        transformers.GPT2LMHeadModel(config),
        transformers.TrainingArguments(**given | arguments),
        train_dataset=rows,
        eval_dataset=rows[:4],
        callbacks=list(callbacks),
    )


def losses(trainer):
    return [{k: v for k, v in line.items() if "loss" in k} for line in trainer.state.log_history[:-1]]


def test_the_hugging_face_trainer_is_undisturbed_and_resumes_with_what_was_measured(tmp_path):
    bare = hf_trainer(tmp_path / "bare")
    bare.train()
    callback = hf.OrderEffectCallback(hf_domains(), **OPTIONS)
    trainer = hf_trainer(tmp_path / "run", [callback])
    trainer.train()
    assert bits(trainer.model) == bits(bare.model)
    told = [line for line in trainer.state.log_history if NAMES[0] in line]
    assert [line["step"] for line in told] == [2, 4, 6]
    assert list(told[-1]) == [*NAMES, "step"]
    assert [line for line in losses(trainer) if line] == [line for line in losses(bare) if line]
    written = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert written == [f"checkpoint-{step}" for step in (2, 4, 6)] + [f"effect_{s}.json" for s in (2, 4, 6)]
    assert list(callback.probe.effects) == [2, 4, 6]

    for number, restore in enumerate((False, True)):
        again = hf.OrderEffectCallback(hf_domains(), **OPTIONS)
        resumed = hf_trainer(
            tmp_path / f"resumed{number}", [again], restore_callback_states_from_checkpoint=restore
        )
        resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
        assert [path.name for path in (tmp_path / f"resumed{number}").glob("effect*")] == ["effect_6.json"]
        assert list(again.probe.effects) == [2, 4, 6]
        assert np.array_equal(again.probe.last.P_replicates, callback.probe.last.P_replicates)


def test_every_n_steps_of_the_hugging_face_trainer_with_its_reporters_and_adam(tmp_path):
    reported = []

    class Reporter(transformers.TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            reported.append((state.global_step, [name for name in logs if "commute" in name]))

    callback = hf.OrderEffectCallback(hf_domains(), every=4, **OPTIONS)
    trainer = hf_trainer(tmp_path, [callback, Reporter()], save_strategy="no", max_steps=5)
    callback.log = lambda values, step: trainer.log(values)
    kept = {}

    class Copy(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, model=None, optimizer=None, **kwargs):
            if state.global_step == 4:
                kept["D"] = cv.AdamPreconditioner.from_optimizer(optimizer.optimizer)
                model.eval()
                kept["effect"] = cv.order_effect(
                    model,
                    hf.causal_lm_loss,
                    hf_domains(),
                    preconditioner=kept["D"],
                    progress=False,
                    **OPTIONS,
                )
                model.train()

    trainer.add_callback(Copy())
    trainer.train()
    assert [step for step, names in reported if names == NAMES] == [4]
    assert np.array_equal(callback.probe.last.P_replicates, kept["effect"].P_replicates)


@pytest.mark.parametrize(("every", "told"), [(None, 1), (5, 0)])
def test_a_callback_that_waits_for_checkpoints_says_so_where_none_is_saved(tmp_path, every, told):
    callback = hf.OrderEffectCallback(hf_domains(), every=every, **OPTIONS)
    trainer = hf_trainer(tmp_path, [callback], save_strategy="no", max_steps=1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trainer.train()
    assert sum("save_strategy is 'no'" in str(one.message) for one in seen) == told


def test_the_default_loss_is_the_sum_over_labels_that_count():
    model = hf_trainer("unused", save_strategy="no").model.double().eval()
    ids = tokens(3)
    labels = ids.clone()
    labels[1, 3:] = -100
    found, weight = hf.causal_lm_loss(model, {"input_ids": ids, "labels": labels})
    log_p = model(ids).logits.log_softmax(-1)
    counted = [(r, c) for r in range(3) for c in range(1, 7) if r != 1 or c < 3]
    by_hand = -sum(log_p[r, c - 1, ids[r, c]] for r, c in counted)
    assert int(weight) == len(counted) == 14
    assert abs(float(found - by_hand)) <= 1e-12  # roundoff
    wrong = -sum(log_p[r, c, ids[r, c]] for r, c in counted)
    assert abs(float(found - wrong)) > 0.1


# lightning


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Embedding(16, 4), nn.Dropout(0.2), nn.Linear(4, 16))

    def training_step(self, batch, _):
        total, weight = li_loss(self, batch)
        return total / weight

    def validation_step(self, batch, _):
        self.log("val", self.training_step(batch, _))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def li_loss(module, batch):
    return cross_entropy(module.net(batch[:, :-1]).mT, batch[:, 1:], reduction="sum"), batch[:, 1:].numel()


def li_fit(folder, callbacks=(), steps=6, **options):
    module = Module()
    saver = lightning.callbacks.ModelCheckpoint(
        folder / "saved", filename="{step}", every_n_train_steps=2, save_top_k=-1
    )
    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=lightning.loggers.CSVLogger(folder, version=0),
        callbacks=[*callbacks, saver],
        val_check_interval=3,
        log_every_n_steps=3,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(3)
    train = torch.utils.data.DataLoader(tokens(32), 4, shuffle=True)
    trainer.fit(module, train, torch.utils.data.DataLoader(tokens(8), 4), **options)
    return module, trainer


@pytest.mark.parametrize("every", [None, 2])
def test_the_lightning_trainer_is_undisturbed_and_resumes_with_what_was_measured(tmp_path, every):
    bare, other = li_fit(tmp_path / "bare")
    callback = li.OrderEffectCallback(li_loss, alphabets(), every=every, **OPTIONS)
    module, trainer = li_fit(tmp_path / "run", [callback])
    assert bits(module) == bits(bare)
    assert trainer.callback_metrics["val"] == other.callback_metrics["val"]
    assert list(callback.probe.effects) == [2, 4, 6]
    names = {path.name for path in (tmp_path / "run" / "saved").iterdir()}
    assert names == {f"step={s}.ckpt" for s in (2, 4, 6)} | {f"effect_{s}.json" for s in (2, 4, 6)}
    metrics = (tmp_path / "run" / "lightning_logs" / "version_0" / "metrics.csv").read_text(encoding="utf-8")
    assert all(name in metrics.splitlines()[0] for name in NAMES)

    again = li.OrderEffectCallback(li_loss, alphabets(), every=every, **OPTIONS)
    li_fit(
        tmp_path / "resumed",
        [again],
        ckpt_path=tmp_path / "run" / "saved" / "step=4.ckpt",
        weights_only=True,
    )
    assert list(again.probe.effects) == [2, 4, 6]
    assert [path.name for path in (tmp_path / "resumed" / "saved").glob("effect*")] == ["effect_6.json"]
    first, second = (one.probe.state_dict() for one in (callback, again))  # the trainer shuffles otherwise
    assert second["starts"] == first["starts"]
    assert second["effects"]["4"] == first["effects"]["4"]


# both


def test_a_callback_that_would_disturb_a_run_is_noticed(tmp_path):
    bare, _ = li_fit(tmp_path / "bare", steps=4)
    callback = li.OrderEffectCallback(
        li_loss, alphabets(), every=2, log=lambda values, step: torch.rand(1), **OPTIONS
    )
    module, _ = li_fit(tmp_path / "run", [callback], steps=4)
    assert bits(module) != bits(bare)


def test_a_run_that_another_rank_leads_measures_nothing(tmp_path):
    callback = hf.OrderEffectCallback(hf_domains(), every=1, **OPTIONS)
    trainer = hf_trainer(tmp_path, [callback])
    args = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    state = transformers.TrainerState(global_step=1, is_world_process_zero=False)
    callback.on_train_begin(args, state, None, model=trainer.model, optimizer=None)
    callback.on_step_end(args, state, transformers.TrainerControl())
    assert not callback.probe.effects
    assert not list(tmp_path.glob("effect*"))
    json.dumps(state.stateful_callbacks)


def test_bad_settings_and_optimizers_are_named_before_or_when_training_begins(tmp_path):
    with pytest.raises(cv.CommuteError, match=r"^no option batch; the options are batches, budget"):
        hf.OrderEffectCallback(hf_domains(), batch=8)
    with pytest.raises(cv.CommuteError, match="batches=3"):
        li.OrderEffectCallback(li_loss, alphabets(), batches=3)
    with pytest.raises(cv.CommuteError, match="every=0"):
        hf.OrderEffectCallback(hf_domains(), every=0)
    module = Module()
    callback = hf.OrderEffectCallback(hf_domains(), every=1, **OPTIONS)
    args = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    with pytest.warns(UserWarning, match="^Adagrad is no SGD, Adam or AdamW: P is that of plain gradient"):
        callback.on_train_begin(
            args,
            transformers.TrainerState(),
            None,
            model=module,
            optimizer=torch.optim.Adagrad(module.parameters()),
        )
