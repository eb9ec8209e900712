"""``commute-verify effect``: its verdict against dense autograd, its exit codes, and bad input."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import commute_verify as cv
from commute_verify.cli import main, parser
from tests import checkpoint_files as files

pytest.importorskip("transformers")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a trained checkpoint (Adam's state in it), a bare one, and texts."""
    folder = tmp_path_factory.mktemp("world")
    files.write_texts(folder, 200)
    files.save(folder / "bare", files.taught())
    files.trainer_folder(folder / "run", files.taught())
    return folder


@pytest.fixture
def ask(world, capsys):
    """Run a command on the two texts: (exit code, stdout, stderr)."""

    def run(checkpoint, *more, command="effect", domains=("en", "ru")):
        given = [f"--domain={name}={world / name}.txt" for name in domains]
        sizes = ["--context=16", "--batch-size=4", "--batches=24"] * ("--budget" not in " ".join(more))
        try:
            code = main([command, str(world / checkpoint), *given, *sizes, *more])
        except SystemExit as error:
            code = error.code
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def words(text):
    return " ".join(text.split())


def test_the_verdict_comes_first_and_the_exit_code_says_that_it_is_resolved(ask, world):
    out = world / "effect.json"
    code, told, _ = ask("bare", "--target=ru", "--quiet", f"--json={out}")
    effect = cv.OrderEffect.from_json(out.read_text())
    assert effect.prefer_first("en", "ru").first == "en"
    assert told.startswith("Train ru last, after en, for the ru loss (p = ")
    assert code == 0
    assert "plain gradients: the checkpoint holds no state of Adam" in effect.notes


def test_the_effect_is_that_of_dense_autograd_on_the_same_text(ask, world):
    """P of the whole text in float64 lies within the interval of the estimate."""
    out = world / "dense.json"
    ask("bare", "--target=mix=en:0.5,ru:0.5", "--quiet", f"--json={out}")
    effect = cv.OrderEffect.from_json(out.read_text())
    model = files.taught().eval().double()
    model.set_attn_implementation("eager")
    named = list(model.parameters())

    def loss(name):
        tokens = files.tokenizer()(files.text(name, 200), verbose=False)["input_ids"][: 16 * 120]
        held = torch.tensor(tokens).view(-1, 16)
        return cross_entropy(model(held[:, :-1]).logits.flatten(0, 1), held[:, 1:].flatten())

    g = {name: torch.autograd.grad(loss(name), named, create_graph=True) for name in ("en", "ru")}
    u = [(a + b).detach() / 2 for a, b in zip(g["en"], g["ru"], strict=True)]

    def product(name, v):
        inner = sum((a * b).sum() for a, b in zip(g[name], v, strict=True))
        return torch.autograd.grad(inner, named, retain_graph=True)

    def dot(x, y):
        return float(sum((a.detach() * b).sum() for a, b in zip(x, y, strict=True)))

    expected = dot(g["en"], product("ru", u)) - dot(g["ru"], product("en", u))
    found, error = effect.P["mix"][0, 1], effect.stderr["mix"][0, 1]
    assert abs(found - expected) < 5 * error  # statistical: t of 3 degrees, and another half of the text
    assert abs(found + expected) > 5 * error  # a swapped pair would be noticed


def test_a_window_in_the_local_regime_has_a_figure_and_its_interval(ask, world):
    out = world / "window.json"
    code, told, _ = ask("bare", "--target=ru", "--quiet", "--window=2", "--lr=0.001", f"--json={out}")
    effect = cv.OrderEffect.from_json(out.read_text())
    schedule = cv.WeightSchedule.blocks({"en": 1, "ru": 1})
    value, _ = effect.excess_loss(schedule, 0.001)["ru"]
    assert f"1 of en and then 1 of ru, it ends {-value:.3g} lower than with constant weights" in words(told)
    assert "within the local regime" in words(told)
    assert code == 0


def test_a_window_outside_the_local_regime_gets_no_verdict(ask):
    code, told, _ = ask("bare", "--quiet", "--window=2000", "--lr=0.1")
    assert code == 3
    assert told.startswith("No verdict over this window: 2000 steps at lr 0.1 lie outside the local regime.")
    assert "its sign may be wrong" in words(told)
    assert "it ends" not in told


def test_a_window_that_cannot_be_judged_is_refused_before_anything_is_measured(ask, monkeypatch):
    monkeypatch.setattr("commute_verify.cli.estimate.measure", lambda *_: pytest.fail("it was measured"))
    assert ask("bare", "--quiet", "--window=4", "--lr=0.1", "--weights=en=1,ru=0")[0] == 2


def test_rates_that_are_absurd_bring_no_warning_and_no_minus_nought(ask):
    code, told, _ = ask("bare", "--quiet", "--target=ru", "--window=2", "--lr=1e300")
    assert (code, told[:27]) == (3, "No verdict over this window")
    _, told, _ = ask("bare", "--quiet", "--target=ru", "--window=2", "--lr=1e-300")
    assert "it ends 0 lower" in words(told)


def test_weights_bound_the_tilt_and_are_judged(ask):
    _, told, _ = ask("bare", "--quiet", "--window=2", "--lr=0.001", "--weights=en=0.9,ru=0.1", "--target=ru")
    assert "0.1 of the weight moved from ru to en for 1 steps and back from en to ru for 1" in words(told)
    assert "At weights en 0.9, ru 0.1" in told


def test_adams_state_preconditions_and_gives_the_learning_rate(ask, world):
    out = world / "adam.json"
    _, told, _ = ask("run/checkpoint-2", "--quiet", "--window=2", f"--json={out}")
    effect = cv.OrderEffect.from_json(out.read_text())
    assert "2 steps × lr 0.001 × λ_max" in words(told)
    assert "preconditioned by Adam's second moments: flow time is steps × lr of Adam" in effect.notes
    assert "checkpoint: Hugging Face, step 2" in effect.notes
    assert "signs are reported to be at chance" in words(told)
    plain = world / "plain.json"
    ask("run/checkpoint-2", "--quiet", "--plain", f"--json={plain}")
    other = cv.OrderEffect.from_json(plain.read_text())
    assert "plain gradients, though the run trains with Adam (--plain)" in other.notes
    assert not np.allclose(other.P["ru"], effect.P["ru"])


def test_notes_are_sentences_and_leave_paths_as_they_are(ask, world):
    _, told, _ = ask("run/checkpoint-2", "--quiet", "--target=ru")
    told = "".join(told.split())  # lines may break within a path
    path = world / "run" / "checkpoint-2" / "optimizer.pt"
    assert f"intheTrainer'sorder,decayedbeforenotdecayed({path})." in told
    assert ".." not in told


def test_the_trajectory_answers_where_order_2_does_not(ask):
    given = ("--quiet", "--window=4", "--predictor=trajectory", "--target=ru")
    code, told, _ = ask("run/checkpoint-2", *given)
    assert code in (0, 3)
    assert re.match(
        r"Train (en|ru) last over this window\. Over 4 steps at lr 0\.001|No verdict", words(told)
    )
    assert "steps of training" in words(told)


def test_which_batch_falls_into_which_half_is_no_part_of_a_trajectorys_error(ask, monkeypatch):
    right, asked = cv.predict_excess_loss, []

    def both(*given, exchange, **more):
        found, luckier = (right(*given, exchange=k, **more) for k in (exchange, None))
        asked.append((found["ru"], luckier["ru"]))
        return found

    monkeypatch.setattr("commute_verify.criterion.predict_excess_loss", both)
    ask("bare", "--quiet", "--window=4", "--lr=0.001", "--predictor=trajectory", "--target=ru")
    ((found, luckier),) = asked
    assert luckier.stderr > 3 * found.stderr  # planted: one order of batches


def test_sampling_until_resolved_keeps_within_the_budget(ask, world):
    out = world / "until.json"
    given = (
        "--context=16",
        "--batch-size=4",
        "--until-resolved",
        "--budget=600",
        "--method=finite-difference",
    )
    ask("bare", "--quiet", "--target=ru", f"--json={out}", *given)
    effect = cv.OrderEffect.from_json(out.read_text())
    assert effect.cost.gradient_passes + 2 * effect.cost.hvp_passes <= 600
    assert effect.looks >= 1


def test_progress_is_on_stderr_and_quiet_is_quiet(ask):
    _, loud, shown = ask("bare", "--target=ru")
    _, still, hidden = ask("bare", "--target=ru", "--quiet")
    assert "tokenising" in shown
    assert "order effect" in shown  # the bar with its estimate
    assert hidden == ""
    without_cost = re.compile(r"Cost: .*", flags=re.DOTALL)
    assert without_cost.sub("", loud) == without_cost.sub("", still)
    assert "\x1b" not in loud + shown


def test_the_page_holds_the_verdict_and_escapes_names(ask, world):
    (world / "a.txt").write_text(files.text("en", 200))
    page = world / "page.html"
    odd = world / "<b>$&`odd"
    if not odd.exists():
        files.save(odd, files.taught())
    _, told, _ = ask(odd.name, "--quiet", "--target=ru", f"--html={page}")
    text = page.read_text()
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert words(told)[:20] in words(re.sub(r"<[^>]*>", "", text))
    assert "<svg" in text


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--target=mix=en:0.5,fr:0.5",), "weighs fr; the domains are en, ru"),
        (("--target=mix=en:0.5,ru:0.6",), "sum to 1"),
        (("--target=mix=en:half",), "'en:half'; give NAME=NUMBER"),
        (("--weights=en=0.9",), "weights miss ru"),
        (("--window=3", "--lr=0.1"), "--window 3; give an even number"),
        (("--window=4",), "needs a learning rate, and the checkpoint holds none; give --lr"),
        (("--window=4", "--lr=0.1", "--weights=en=1,ru=0"), "--weights give ru nothing"),
        ((f"--window={'8' * 400}", "--lr=0.1"), "--window of more than 1e+15 steps"),
        (("--lr=0.1",), "give --window STEPS as well"),
        (("--until-resolved",), "give --until-resolved and --budget together"),
        (("--batches=4",), "batches=4; give a whole number of at least 8"),
        (("--batches=4000",), "batches of 4 windows of 16 tokens, and 4000 are needed; give more text"),
        (("--context=100",), "--context 100; the model takes 2 to 64 tokens"),
        (("--json=/nowhere/effect.json",), "cannot write /nowhere/effect.json"),
        (("--json=-",), "which others take for standard output"),
        (("--device=moon",), "--device moon: not here"),
        (
            ("--window=2000", "--lr=0.1", "--predictor=trajectory"),
            "takes 4000 batches of each domain",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(ask, more, told):
    code, out, err = ask("bare", "--quiet", *more)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert err.startswith("commute-verify effect: ")


def test_one_domain_has_no_order(ask):
    assert ask("bare", "--quiet", domains=("en",))[0] == 2
    assert "names 'en' twice" in ask("bare", "--quiet", domains=("en", "en"))[2]


@pytest.mark.parametrize(
    "more", [("--window=0",), ("--lr=nan",), ("--predictor=oracle",), ("--batches=1.5",)]
)
def test_numbers_that_are_none_are_refused_with_usage(ask, more):
    code, _, err = ask("bare", *more)
    assert code == 2
    assert more[0].partition("=")[0] in err


def test_help_shows_examples_and_exit_codes(capsys):
    with pytest.raises(SystemExit) as done:
        main(["effect", "--help"])
    told = capsys.readouterr().out
    assert done.value.code == 0
    assert "commute-verify effect runs/checkpoint-5000 --domain en=en.txt --domain ru=ru.jsonl.gz" in told
    assert "exit codes: 0 every pair is resolved" in told


@pytest.mark.parametrize("where", ["effect", "scan", "page"])
def test_every_command_that_is_shown_is_one(where):
    text = (
        (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
        if where == "page"
        else import_module(f"commute_verify.cli.{where}").__doc__
    )
    joined = re.sub(r"\\\n\s*", "", text)
    shown = re.findall(r"^ *commute-verify ((?:effect|scan) .*)$", joined, flags=re.MULTILINE)
    assert shown
    for line in shown:
        assert parser().parse_args(shlex.split(line)).command in ("effect", "scan")
