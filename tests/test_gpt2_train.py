"""Training: beside a bare loop, in both paradigms, in pieces, from a checkpoint."""

import dataclasses
import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from commute_verify import CommuteError, WeightSchedule
from experiments.gpt2 import checkpoint, progress
from experiments.gpt2.evaluate import evaluate, fixed_windows
from experiments.gpt2.loop import steps_per_reading, train
from experiments.gpt2.metrics import Metrics, evaluations, read
from experiments.gpt2.model import build, flops_per_token, loss_fn, token_losses
from experiments.gpt2.plan import Plan
from experiments.gpt2.settings import OPTIMIZERS, Training
from experiments.gpt2.shards import build as build_shards
from experiments.gpt2.tokenizer import TokenizerSpec
from experiments.gpt2.train import main
from tests import gpt2_small as small

EPS32 = float(np.finfo(np.float32).eps)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return small.build(tmp_path_factory.mktemp("shards") / "shards")


def run(shards, out, settings=small.SETTINGS, stages=None, start=None, **options):
    stages = stages or small.constant(settings.steps)
    return train(settings, shards, stages, start, out, progress=False, **options)


def weights(found):
    return torch.cat([p.detach().flatten() for p in found.model().parameters()])


def bitwise(first, second):
    return torch.equal(weights(first), weights(second))


def bare_loop(shards, settings, stages, batches, loss_of):
    """PyTorch's own optimizers over the same batches, a mean loss, and nothing else."""
    model = build(settings.architecture, settings.seed)
    decayed = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others}]
    if settings.optimizer == "adamw":
        optimizer = torch.optim.AdamW(
            groups, betas=settings.betas, eps=settings.eps, weight_decay=0.0, foreach=False
        )
    else:
        momentum = {"sgd": 0.0, "momentum": settings.betas[0]}[settings.optimizer]
        optimizer = torch.optim.SGD(groups, lr=1.0, momentum=momentum)
    for step, batch in enumerate(batches):
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        if settings.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        for group in optimizer.param_groups:
            group["lr"] = settings.lr_at(step)
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def mean_loss(model, rows):
    logits = model(rows.windows[:, :-1]).logits
    return F.cross_entropy(logits.flatten(0, 1), rows.windows[:, 1:].flatten())


def weighted_mean_losses(weights):
    def loss(model, rows):
        return sum(
            w * mean_loss(model, type(rows)(rows.windows[rows.domains == k], None, None))
            for k, w in enumerate(weights)
        )

    return loss


def batches(shards, settings, stages, kind):
    plan, cursor = Plan(settings, shards, stages, 0, kind), dict.fromkeys(shards.domains, 0)
    for step in range(plan.last):
        yield plan.rows(step, cursor)
        for name, count in zip(stages.domains, plan.counts(step).tolist(), strict=True):
            cursor[name] += count


def close(found, expected, settings):
    """Roundoff: float32 over the steps, amplified by Adam where a second moment is small."""
    return float((found - expected).abs().max()) <= 2e3 * EPS32 * settings.lr * settings.steps


# A large ε: the gradient of the keys' bias is 0, and Adam would blow up its roundoff to whole steps.
CASES = {
    "adamw with decay and clipping": {"eps": 1e-4, "weight_decay": 0.1, "clip": 0.5, "decay": "cosine"},
    "momentum": {"optimizer": "momentum", "lr": 0.1},
    "sgd": {"optimizer": "sgd", "lr": 0.1},
    "in micro-batches": {"eps": 1e-4, "micro_batch": 4},
}


@pytest.mark.parametrize("kind", ["sampled", "exact"])
@pytest.mark.parametrize("case", CASES)
def test_a_run_is_a_bare_loop_over_the_same_batches(shards, tmp_path, case, kind):
    settings, stages = small.changed(**CASES[case]), small.constant(12, en=0.7, ru=0.3)
    found = weights(run(shards, tmp_path, settings, stages, counts=kind))
    expected = bare_loop(shards, settings, stages, batches(shards, settings, stages, kind), mean_loss)
    assert close(found, expected, settings)


def test_the_weighted_loss_multiplies_the_mean_losses(shards, tmp_path):
    settings = small.changed(paradigm="weighted-loss", batch=5, optimizer="sgd", lr=0.1)
    stages = WeightSchedule.piecewise([(8, {"en": 0.9, "ru": 0.1}), (4, {"en": 0.0, "ru": 1.0})])
    found = weights(run(shards, tmp_path, settings, stages))
    held = list(batches(shards, settings, stages, "sampled"))

    steps = iter(range(12))

    def right(model, rows):
        return weighted_mean_losses((0.9, 0.1) if next(steps) < 8 else (0.0, 1.0))(model, rows)

    assert close(found, bare_loop(shards, settings, stages, held, right), settings)
    swapped = weighted_mean_losses((0.1, 0.9))
    assert not close(found, bare_loop(shards, settings, stages, held, swapped), settings)


def test_a_missing_weight_decay_or_another_batch_is_seen(shards, tmp_path):
    settings, stages = small.changed(eps=1e-4, weight_decay=0.1), small.constant(12)
    found = weights(run(shards, tmp_path, settings))
    held = list(batches(shards, settings, stages, "sampled"))
    assert close(found, bare_loop(shards, settings, stages, held, mean_loss), settings)
    without = small.changed(eps=1e-4)
    assert not close(found, bare_loop(shards, without, stages, held, mean_loss), settings)
    held[7], held[8] = held[8], held[7]
    assert not close(found, bare_loop(shards, settings, stages, held, mean_loss), settings)


def test_the_ranks_of_a_step_share_its_batch_and_the_batch_follows_the_cursor(shards):
    plan = Plan(small.SETTINGS, shards, small.constant(12), 0, "exact")
    cursor = {"en": 5, "ru": 100}
    whole = plan.rows(3, cursor)
    parts = [plan.rows(3, cursor, rank, 3) for rank in range(3)]
    assert torch.equal(torch.cat([part.windows for part in parts]), whole.windows)
    assert torch.equal(torch.cat([part.weights for part in parts]), whole.weights)
    assert whole.domains.tolist() == [0, 0, 0, 1, 1, 1]
    assert float(whole.weights.sum()) * small.CONTEXT == pytest.approx(1, abs=8 * EPS32)  # roundoff
    later = plan.rows(3, {"en": 6, "ru": 100})
    assert torch.equal(later.windows[:2], whole.windows[1:3])
    assert torch.equal(later.windows[3:], whole.windows[3:])


def test_metrics_tell_each_step_once_in_nats_and_bits(shards, tmp_path):
    run(shards, tmp_path, evaluate_every=5, evaluate_at=(3,))
    lines = read(tmp_path)
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(12))
    assert [line["lr"] for line in steps] == [small.SETTINGS.lr_at(step) for step in range(12)]
    assert list(evaluations(tmp_path)) == [0, 3, 5, 10, 12]
    line = next(line for line in steps if line["loss"]["ru"] is not None)
    bits = line["loss"]["ru"] / math.log(2) / shards.bytes_per_token("ru", "train")
    assert line["bits_per_byte"]["ru"] == pytest.approx(bits, rel=1e-12)  # roundoff
    held = next(line for line in lines if "validation" in line)
    bits = held["validation"]["ru"] / math.log(2) / shards.bytes_per_token("ru", "validation")
    assert held["bits_per_byte"]["ru"] == pytest.approx(bits, rel=1e-12)  # roundoff
    assert line["tokens_per_second"] > 0
    assert line["mfu"] is None


def test_the_loss_of_a_step_is_that_of_its_own_batch(shards, tmp_path):
    run(shards, tmp_path, counts="exact")
    model = build(small.SIZE, 0)
    plan = Plan(small.SETTINGS, shards, small.constant(12), 0, "exact")
    rows = plan.rows(0, {"en": 0, "ru": 0})
    told = read(tmp_path)[0]["loss"]
    for k, name in enumerate(("en", "ru")):
        with torch.no_grad():
            expected = token_losses(model, rows.windows[rows.domains == k]).mean()
        assert told[name] == pytest.approx(float(expected), rel=8 * EPS32)  # roundoff


def test_the_validation_loss_is_the_mean_over_fixed_windows_in_float64(shards):
    model = build(small.SIZE, 0)
    double = build(small.SIZE, 0).double()
    for windows in (7, 10_000):
        found = evaluate(model, shards, ("ru", "en"), windows=windows)
        assert list(found) == ["ru", "en"]
        assert found == evaluate(model, shards, ("ru", "en"), windows=windows)
        for name in found:
            available = shards.windows(name, "validation", small.CONTEXT)
            chosen = fixed_windows(available, windows)
            assert len(set(chosen.tolist())) == min(windows, available)
            held = [shards.window(name, "validation", int(i), small.CONTEXT)[None] for i in chosen]
            with torch.no_grad():
                total = sum(float(loss_fn(double, window)[0]) for window in held)
            # Roundoff: float32 losses of the tokens.
            assert found[name] == pytest.approx(total / len(chosen) / small.CONTEXT, rel=16 * EPS32)


def test_a_run_leaves_the_callers_random_numbers_alone(shards, tmp_path):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    run(shards, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_learns(shards, tmp_path):
    run(shards, tmp_path, small.changed(steps=60), evaluate_every=60)
    losses = evaluations(tmp_path)
    assert all(losses[60][name] < losses[0][name] - 0.5 for name in ("en", "ru"))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_in_two_halves_from_a_checkpoint_is_the_whole_run(shards, tmp_path, optimizer):
    settings = small.changed(optimizer=optimizer)
    whole = run(shards, tmp_path / "whole", settings, save_at=(0, 5))
    for start in (0, 5):
        held = checkpoint.load(checkpoint.folder_of(tmp_path / "whole", start))
        rest = run(shards, tmp_path / f"from-{start}", settings, small.constant(12 - start), held)
        assert rest.state.step == 12
        assert bitwise(rest, whole)
        assert rest.state.cursor == whole.state.cursor
    assert sum(whole.state.cursor.values()) == 12 * small.SETTINGS.batch


def test_a_branch_takes_its_own_settings_with_the_optimizers_moments(shards, tmp_path):
    """Decay, betas and ε are those of the new settings, not those that the optimizer was saved with."""
    first = run(shards, tmp_path / "a", stages=small.constant(6))
    decayed = small.changed(weight_decay=0.5)
    plain, other = (
        run(shards, tmp_path / f"b{k}", settings, small.constant(6), first)
        for k, settings in enumerate((small.SETTINGS, decayed))
    )
    assert not bitwise(plain, other)
    groups = other.optimizer_state()["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]


def test_a_domain_that_the_start_did_not_know_begins_at_its_first_window(shards, tmp_path):
    start = run(shards, tmp_path / "a", stages=small.constant(1))
    held = shards_with_tokenizer_of(shards, tmp_path / "shards", ("en", "de"))
    rest = run(held, tmp_path / "b", stages=small.constant(3, en=0.5, de=0.5), start=start, counts="exact")
    assert rest.state.cursor == {"en": start.state.cursor["en"] + 9, "de": 9}


def shards_with_tokenizer_of(shards, folder, names):
    spec = TokenizerSpec(pretrained=str(shards.tokenizer_folder))
    return build_shards(folder, small.sources(names), spec, validation_share=0.2)


def test_a_cosine_from_a_checkpoint_goes_on_falling_and_does_not_stand_at_zero(tmp_path):
    command = [
        "--data", "en=synthetic", "--data", "ru=synthetic", "--limit-documents", "40", "--data-seed", "1",
        "--layers", "1", "--width", "16", "--heads", "1", "--context", "16", "--vocabulary", "300",
        "--batch", "6", "--steps", "6", "--warmup", "2", "--decay", "cosine",
        "--shards", str(tmp_path / "shards"),
    ]  # fmt: skip
    assert main([*command, "--out", str(tmp_path / "a")]) == 0
    start = checkpoint.folder_of(tmp_path / "a", 6)
    assert main([*command, "--out", str(tmp_path / "b"), "--start", str(start)]) == 0
    rates = [line["lr"] for line in read(tmp_path / "b")]
    assert rates == [Training.smoke().lr * (1 + math.cos(math.pi * done / 10)) / 2 for done in range(4, 10)]


def test_a_run_longer_than_its_cosine_is_refused(shards, tmp_path):
    with pytest.raises(CommuteError, match="give steps 12"):
        run(shards, tmp_path, small.changed(decay="cosine", steps=6), small.constant(12))


def test_steps_are_read_at_once_where_that_costs_nothing():
    paper = Training.paper()
    assert steps_per_reading("cuda", paper.batch * paper.architecture.context) == 1
    assert steps_per_reading("cuda", 1024) == 10
    assert steps_per_reading("cpu", 1024) == 1


def test_kept_checkpoints_are_those_asked_for_and_the_last(shards, tmp_path):
    run(shards, tmp_path, save_at=(4,), save_every=3)
    assert checkpoint.steps_saved(tmp_path) == [4, 12]


def test_domains_can_be_three(tmp_path):
    shards = small.build(tmp_path / "shards", names=("a", "b", "c"))
    stages = WeightSchedule.piecewise([(6, {"a": 0.5, "b": 0.25, "c": 0.25})])
    found = run(shards, tmp_path / "run", small.changed(steps=6), stages, counts="exact")
    totals = found.state.cursor
    assert sum(totals.values()) == 36
    assert all(abs(totals[name] - plan) < 1 for name, plan in (("a", 18), ("b", 9), ("c", 9)))


def test_bf16_trains_beside_float32(shards, tmp_path):
    settings = small.changed(precision="bf16", optimizer="sgd", lr=0.1)
    low = weights(run(shards, tmp_path / "low", settings))
    full = weights(run(shards, tmp_path / "full", small.changed(optimizer="sgd", lr=0.1)))
    begun = torch.cat([p.detach().flatten() for p in build(small.SIZE, 0).parameters()])
    assert low.dtype == torch.float32
    # Roundoff: eight bits of mantissa, of the distance travelled.
    assert 0 < (low - full).norm() < 2**-4 * (full - begun).norm()


@pytest.mark.parametrize("preset", [Training.paper(), Training.gpu(), Training.cpu()])
def test_the_first_steps_of_a_large_preset_train_a_small_model(shards, tmp_path, preset):
    """All that a preset sets but its size, its device and the compiler."""
    settings = dataclasses.replace(
        preset,
        architecture=small.SIZE,
        device="cpu",
        compile=False,
        batch=8,
        micro_batch=3,
        warmup=2,
        lr=0.01,
    )
    run(shards, tmp_path, settings, small.constant(6), evaluate_every=6)
    losses = evaluations(tmp_path)
    assert all(losses[6][name] < losses[0][name] for name in ("en", "ru"))


WRONG = {
    "a vocabulary too small for the data": ({"vocabulary": 200}, {}, "vocabulary of 300 or more"),
    "a batch that a domain cannot fill": ({"context": 4096}, {}, "fewer than one batch"),
    "counts of an unknown kind": ({}, {"counts": "random"}, "counts"),
    "half a step": ({}, {"stages": small.constant(2.5)}, "whole numbers of steps"),
    "a domain without shards": ({}, {"stages": small.constant(4, en=0.5, de=0.5)}, "de"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_trained_is_refused_before_the_first_step(shards, tmp_path, case):
    sizes, options, message = WRONG[case]
    size = type(small.SIZE)(**{**vars(small.SIZE), **sizes})
    with pytest.raises(CommuteError, match=message):
        run(shards, tmp_path, small.changed(architecture=size), **options)
    assert not (tmp_path / "checkpoints").exists()


def test_a_start_of_another_model_optimizer_or_vocabulary_is_refused(shards, tmp_path):
    start = run(shards, tmp_path / "start", stages=small.constant(1))
    wide = type(small.SIZE)(**{**vars(small.SIZE), "width": 32})
    for changed in ({"architecture": wide}, {"optimizer": "sgd"}):
        with pytest.raises(CommuteError, match=next(iter(changed))):
            run(shards, tmp_path / "a", small.changed(**changed), start=start)
    other = small.build(tmp_path / "other", names=("en", "ru"), documents=50)
    with pytest.raises(CommuteError, match="is not that of the checkpoint"):
        run(other, tmp_path / "b", stages=small.constant(4), start=start)


def test_a_loss_that_is_not_finite_stops_the_run_and_says_so(shards, tmp_path):
    settings = small.changed(optimizer="sgd", lr=1e30, warmup=0)
    with pytest.raises(CommuteError, match="not finite at step"):
        run(shards, tmp_path, settings)
    assert checkpoint.latest(tmp_path) is None


@pytest.mark.parametrize("options", [{"evaluate_every": 1}, {"evaluate_at": (1,)}, {}])
def test_a_run_that_diverges_in_its_last_step_is_not_saved_and_its_metrics_are_json(
    shards, tmp_path, options
):
    settings = small.changed(lr=1e38, weight_decay=1e3, warmup=0, steps=1)
    with pytest.raises(CommuteError, match="not finite"):
        run(shards, tmp_path, settings, small.constant(1), **options)
    assert checkpoint.latest(tmp_path) is None
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_log_tells_losses_speed_and_the_time_that_is_left(capsys, monkeypatch):
    clock = iter([0.0, 0.0, 10.0, 40.0, 45.0, 50.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    told = progress.Progress(done=10, total=50, shown=True)
    for _ in range(4):
        told.tell(10, {"en": 2.5, "ru": None}, 1234.5, 0.41)
    told.close()
    assert capsys.readouterr().err.splitlines() == [
        "step 30/50: bits/byte en 2.500; 1,234 tokens/s, MFU 41%; about 0:00:40 left",
        "step 50/50: bits/byte en 2.500; 1,234 tokens/s, MFU 41%; about 0:00:00 left",
    ]


class Board:
    """Stands for TensorBoard's writer."""

    def __init__(self, folder):
        self.scalars = []
        Board.made = self

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def close(self):
        self.scalars.append("closed")


def test_tensorboard_gets_what_metrics_hold(shards, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Board))
    run(shards, tmp_path, tensorboard=True, evaluate_at=(12,), counts="exact")
    lines = read(tmp_path)
    expected = [
        (f"{'train' if 'loss' in line else 'validation'}/{name} (bits per byte)", value, line["step"])
        for line in lines
        for name, value in line["bits_per_byte"].items()
    ]
    assert Board.made.scalars == [*expected, "closed"]


def test_tensorboard_that_is_missing_is_one_clear_error(shards, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(CommuteError, match="pip install tensorboard"):
        run(shards, tmp_path, tensorboard=True)


def test_mfu_is_the_share_of_the_peak_that_is_given(shards, tmp_path):
    run(shards, tmp_path, peak=1e9)
    for line in read(tmp_path):
        expected = flops_per_token(small.SIZE) * line["tokens_per_second"] / 1e9
        assert line["mfu"] == pytest.approx(expected, abs=1e-4)  # roundoff: four digits are written


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_metrics_that_cannot_be_written_are_one_clear_error(shards, tmp_path, monkeypatch):
    told = Metrics(tmp_path, None, {"validation": {"en": 3.0}}, board=False)
    told.close()
    full = open("/dev/full", "w")  # noqa: SIM115
    monkeypatch.setattr(told, "_file", full)
    with pytest.raises(CommuteError, match="No space left on device"):
        told.evaluation(1, {"en": 2.0})
    with pytest.raises(OSError, match="No space left on device"):
        full.close()
