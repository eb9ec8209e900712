"""The first variation against unrolled autograd, and against real ``torch.optim`` runs, in float64."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.func import functional_call

from commute_verify import CommuteError, WeightSchedule
from commute_verify.criterion.objective import Objective
from commute_verify.criterion.prediction import costate, update
from commute_verify.criterion.prediction.costate import Training
from commute_verify.criterion.prediction.optimizer import read_optimizer
from commute_verify.criterion.prediction.predict import first_variation, predict_excess_loss
from commute_verify.criterion.prediction.states import Shelf
from commute_verify.criterion.prediction.surface import Surface
from tests.criterion_models import TinyLM, next_token_loss, one_thread, ragged_tokens

NAMES = ("a", "b", "c")
STEPS = 7
MIXING = np.array([[1.0, 0.0, 0.0], [0.0, 0.25, 0.75]])
TARGETS = {"a": {"a": 1.0}, "some": {"b": 0.25, "c": 0.75}}
RATES = 0.02 * (1 + np.cos(np.arange(STEPS) / 3))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def language_model():
    torch.manual_seed(1)
    return TinyLM(vocabulary=6, width=4).double().eval()


def tokens(seed, steps=STEPS):
    """Each domain prefers other words, so that they pull apart."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for k, name in enumerate(NAMES):
        found[name] = []
        for _ in range(steps):
            batch = ragged_tokens(draw, 6, length=6, vocabulary=6)
            keep = torch.rand(batch.shape, generator=draw) < 0.4
            found[name].append(torch.where((batch >= 0) & keep, torch.full_like(batch, 2 * k), batch))
    return found


OPTIMIZERS = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.3), None),
    "SGD with decay": (lambda p: torch.optim.SGD(p, lr=0.3, weight_decay=0.1), None),
    "momentum": (lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.8), None),
    "damped momentum": (lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.8, dampening=0.3), 0.5),
    "Nesterov": (
        lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.8, nesterov=True, weight_decay=0.1),
        None,
    ),
    "Adam with decay": (lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, betas=(0.8, 0.95)), None),
    "AdamW": (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3, betas=(0.8, 0.95)), None),
    "clipped AdamW": (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3), 0.2),
    "clipped SGD": (lambda p: torch.optim.SGD(p, lr=0.3), 0.2),
    "two groups": (
        lambda p: torch.optim.AdamW(
            [{"params": p[:2], "weight_decay": 0.5}, {"params": p[2:], "lr": 0.002}], lr=0.01
        ),
        None,
    ),
}
WARM = {"from the start": 0, "in the middle": 3}


def mean_loss(model, parameters, batch):
    class Call(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self):
            total, weight = next_token_loss(self.model, batch)
            return total / weight

    if parameters is None:
        return Call()()
    return functional_call(Call(), {f"model.{name}": p for name, p in parameters.items()}, ())


def train(model, optimizer, data, weights, rates, clip):
    """A plain loop over torch.optim: weighted loss, clipping, learning rates."""
    ratios = [group["lr"] / optimizer.param_groups[0]["lr"] for group in optimizer.param_groups]
    for s, rate in enumerate(rates):
        for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
            group["lr"] = float(rate) * ratio
        optimizer.zero_grad()
        sum(
            float(w) * mean_loss(model, None, data[name][s])
            for name, w in zip(NAMES, weights[s], strict=True)
        ).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()


def losses(model, held_out):
    """Means over valid tokens of all batches, weighed by MIXING."""
    found = []
    for name in NAMES:
        pairs = [next_token_loss(model, batch) for batch in held_out[name]]
        found.append(sum(float(total.detach()) for total, _ in pairs) / sum(float(w) for _, w in pairs))
    return MIXING @ np.array(found)


def start(kind, warm):
    """A model and its optimizer, after some steps of real training."""
    make, clip = OPTIMIZERS[kind]
    model = language_model()
    optimizer = make(list(model.parameters()))
    lr = optimizer.param_groups[0]["lr"]
    third = np.full((WARM[warm], 3), 1 / 3)
    train(model, optimizer, tokens(9), third, [lr] * len(third), clip)
    return model, optimizer, clip


def weights_along(seed=0):
    w = np.random.default_rng(seed).dirichlet(np.ones(3), size=STEPS)
    w[2, 1], w[2, 0] = 0.0, w[2, 0] + w[2, 1]
    return w


def swept(model, optimizer, clip, w, store=2**30, method="double-backward", mixing=MIXING, folder=None):
    objective = Objective.of(model, next_token_loss)
    fields = Surface(objective, tokens(1), method)
    rule = read_optimizer(optimizer, model, list(objective.parameters), fields.theta, clip)
    training = Training(fields, rule, RATES, store=store, folder=folder)
    return training.sweep(w, Surface(objective, tokens(2, 2)), mixing)


def differences(kind, warm, w, h=1e-5):
    """∂L_t/∂w_k(s) by central differences of whole runs, for some steps and all domains."""
    model, optimizer, clip = start(kind, warm)
    found = np.full((2, STEPS, 3), np.nan)
    for s in (0, 2, STEPS - 2):
        for k in range(3):
            ends = []
            for sign in (1, -1):
                moved = w.copy()
                moved[s, k] += sign * h
                twin, its = copy.deepcopy((model, optimizer))
                train(twin, its, tokens(1), moved, RATES, clip)
                ends.append(losses(twin, tokens(2, 2)))
            found[:, s, k] = (ends[0] - ends[1]) / (2 * h)
    return found


def assert_same(found, expected, relative=2e-6):
    """Roundoff of a central difference, h = 1e-5: h² + eps/h, amplified by curvature."""
    known = ~np.isnan(expected)
    assert known.any()
    assert np.abs(found - expected)[known].max() <= relative * np.abs(expected[known]).max()


@pytest.mark.parametrize("warm", WARM)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_first_variation_is_the_derivative_of_real_runs(kind, warm):
    w = weights_along()
    assert_same(swept(*start(kind, warm), w).sensitivity, differences(kind, warm, w))


def plant(monkeypatch, name, changed):
    right = getattr(update, name)
    for module in (update, costate):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, changed(right))


def forgetting(which):
    def changed(right):
        def wrong(*arguments):
            before, reached = right(*arguments)
            part = getattr(before, which)
            return before._replace(**{which: torch.zeros_like(part)}), reached

        return wrong

    return changed


PLANTED = {
    "no first moment": ("AdamW", "pulled_back", forgetting("first")),
    "no second moment": ("AdamW", "pulled_back", forgetting("second")),
    "no momentum": ("momentum", "pulled_back", forgetting("first")),
    "no path through θ": ("SGD", "pulled_back", forgetting("theta")),
    "clipping taken as constant": (
        "clipped SGD",
        "clipped_back",
        lambda right: lambda o, g, c: c * float(update.clipped(o, g).norm() / g.norm()),
    ),
    "no bias correction": ("AdamW", "_rate", lambda right: lambda o, rate, number: rate),
    "dampening from an empty buffer": ("damped momentum", "_dampening", lambda right: lambda o, n: 0.3),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_error_in_the_adjoint_is_caught(planted, monkeypatch):
    kind, name, changed = PLANTED[planted]
    plant(monkeypatch, name, changed)
    w = weights_along()
    with pytest.raises(AssertionError):
        assert_same(
            swept(*start(kind, "from the start"), w).sensitivity, differences(kind, "from the start", w)
        )


def test_curvature_that_is_left_out_is_caught(monkeypatch):
    right = Surface.derivatives

    def flat(self, at, batch, directions=(), domain=""):
        found = right(self, at, batch, directions, domain)
        return found._replace(products=[torch.zeros_like(p) for p in found.products])

    monkeypatch.setattr(Surface, "derivatives", flat)
    w = weights_along()
    with pytest.raises(AssertionError):
        assert_same(
            swept(*start("SGD", "in the middle"), w).sensitivity, differences("SGD", "in the middle", w)
        )


def unrolled(model, data, held_out, w, rates, lr_state=(0.8, 0.95), decay=0.3, eps=1e-8):
    """AdamW from an empty state, written out and differentiated by autograd in w, (T, N, K)."""
    b1, b2 = lr_state
    weights = torch.tensor(w, requires_grad=True)
    p = {name: x.detach().requires_grad_() for name, x in model.named_parameters()}
    m = {name: torch.zeros_like(x) for name, x in p.items()}
    v = {name: torch.zeros_like(x) for name, x in p.items()}
    for s, rate in enumerate(rates):
        total = sum(weights[s, k] * mean_loss(model, p, data[name][s]) for k, name in enumerate(NAMES))
        gradients = torch.autograd.grad(total, list(p.values()), create_graph=True)
        for (name, x), g in zip(list(p.items()), gradients, strict=True):
            m[name] = b1 * m[name] + (1 - b1) * g
            v[name] = b2 * v[name] + (1 - b2) * g**2
            root = (v[name] / (1 - b2 ** (s + 1))).sqrt() + eps
            p[name] = (1 - rate * decay) * x - rate * (m[name] / (1 - b1 ** (s + 1))) / root
    found = []
    for row in MIXING:
        means = []
        for name in NAMES:
            counts = [float((batch[:, 1:] != -100).sum()) for batch in held_out[name]]
            parts = [c * mean_loss(model, p, batch) for c, batch in zip(counts, held_out[name], strict=True)]
            means.append(sum(parts) / sum(counts))
        end = sum(float(r) * one for r, one in zip(row, means, strict=True))
        found.append(torch.autograd.grad(end, weights, retain_graph=True)[0].numpy())
    return np.array(found)


def test_it_agrees_with_autograd_through_an_unrolled_adamw_to_roundoff():
    model, optimizer, clip = start("AdamW", "from the start")
    w = weights_along()
    expected = unrolled(model, tokens(1), tokens(2, 2), w, RATES)
    found = swept(model, optimizer, clip, w).sensitivity
    assert np.abs(found - expected).max() <= 1e-9 * np.abs(expected).max()  # roundoff: 1/eps of Adam's ε


def test_states_that_are_run_again_give_the_same_bits_as_states_that_are_kept():
    w = weights_along()
    kept = swept(*start("clipped AdamW", "in the middle"), w)
    again = swept(*start("clipped AdamW", "in the middle"), w, store=0)
    assert np.array_equal(kept.sensitivity, again.sensitivity)
    assert np.array_equal(kept.losses, again.losses)


@pytest.mark.parametrize("store", [2**30, 0])
@pytest.mark.parametrize("kind", ["SGD", "momentum", "clipped AdamW"])
def test_states_in_files_give_the_same_bits_as_states_in_memory(kind, store, tmp_path):
    w = weights_along()
    kept = swept(*start(kind, "in the middle"), w)
    again = swept(*start(kind, "in the middle"), w, store=store, folder=tmp_path)
    np.testing.assert_array_equal(again.sensitivity, kept.sensitivity)
    np.testing.assert_array_equal(again.losses, kept.losses)
    assert not list(tmp_path.iterdir())


def test_moments_that_change_places_in_a_file_are_caught(tmp_path, monkeypatch):
    right, w = Shelf.put, weights_along()
    kept = swept(*start("AdamW", "in the middle"), w).sensitivity
    monkeypatch.setattr(
        Shelf, "put", lambda shelf, s, t: right(shelf, s, (t[0], t[2].abs(), t[1].abs(), t[3]))
    )
    wrong = swept(*start("AdamW", "in the middle"), w, folder=tmp_path).sensitivity
    assert np.abs(wrong - kept).max() > 1e-3 * np.abs(kept).max()


@pytest.mark.parametrize("error", [OSError(28, "No space left"), OSError("No space left")])
def test_a_state_that_cannot_be_written_is_told_and_nothing_is_left(error, tmp_path, monkeypatch):
    def full(*_, **__):
        raise error  # NumPy's own, of a file cut short, has no strerror

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(CommuteError, match=r"\(No space left\).*states="):
        swept(*start("AdamW", "from the start"), weights_along(), folder=tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(CommuteError, match="can be written to"):
        swept(*start("AdamW", "from the start"), weights_along(), folder=tmp_path / "absent")


def test_one_forward_sweep_serves_all_targets():
    w = weights_along()
    both = swept(*start("AdamW", "in the middle"), w)
    one = swept(*start("AdamW", "in the middle"), w, mixing=MIXING[1:])
    assert np.abs(both.sensitivity[1:] - one.sensitivity).max() <= 1e-13 * np.abs(one.sensitivity).max()


def test_central_differences_of_gradients_serve_where_there_is_no_second_derivative():
    w = weights_along()
    exact = swept(*start("AdamW", "in the middle"), w).sensitivity
    by_differences = swept(*start("AdamW", "in the middle"), w, method="finite-difference").sensitivity
    assert np.abs(by_differences - exact).max() <= 1e-4 * np.abs(exact).max()  # truncation of the step


def test_the_last_loss_is_that_of_the_real_run():
    w = weights_along()
    model, optimizer, clip = start("AdamW", "in the middle")
    found = swept(model, optimizer, clip, w).losses
    train(model, optimizer, tokens(1), w, RATES, clip)
    assert np.abs(found - losses(model, tokens(2, 2))).max() < 1e-12  # roundoff


def observed_excess(model, optimizer, clip, schedule, data, held_out, rate):
    ends = []
    for s in (schedule, schedule.averaged()):
        w = np.repeat(s.weights, s.durations.astype(int), axis=0)
        twin, its = copy.deepcopy((model, optimizer))
        train(twin, its, data, w, [rate] * len(w), clip)
        ends.append(losses(twin, held_out))
    return ends[0] - ends[1]


THIRD = dict.fromkeys(NAMES, 1 / 3)
SCHEDULES = {
    "a tilt": WeightSchedule.tilt(THIRD, "a", "b", 0.15, 10),
    "a swap": WeightSchedule.blocks(dict.fromkeys(NAMES, 6)),
}


def predicted(kind, what, points=None, slower=0.3, **options):
    """A prediction and what real runs do."""
    schedule = SCHEDULES[what]
    model, optimizer, clip = start(kind, "in the middle")
    for group in optimizer.param_groups:
        group["lr"] *= slower
    data, held_out = tokens(1, 20), tokens(2, 2)
    found = predict_excess_loss(
        model,
        next_token_loss,
        data,
        schedule,
        TARGETS,
        optimizer=optimizer,
        predictor="trajectory",
        held_out=held_out,
        points=points,
        clip_norm=clip,
        **options,
    )
    rate = optimizer.param_groups[0]["lr"]
    return found, observed_excess(model, optimizer, clip, schedule, data, held_out, rate)


def test_one_replicate_says_that_it_is_of_its_own_batches():
    assert "of these very batches" in str(predicted("SGD", "a tilt", 1)[0])
    model, optimizer, _ = start("SGD", "in the middle")
    both = predict_excess_loss(
        model, next_token_loss, tokens(1, 40), SCHEDULES["a tilt"], TARGETS,
        optimizer=optimizer, predictor="trajectory", held_out=tokens(2, 2), points=1, replicates=2,
    )  # fmt: skip
    assert "of these very batches" not in str(both)


def error(found, seen):
    return max(abs(found[name].value - x) for name, x in zip(found, seen, strict=True)) / np.abs(seen).max()


@pytest.mark.parametrize(
    ("kind", "what", "points", "within"),
    [
        ("SGD", "a tilt", None, 0.02),
        ("AdamW", "a tilt", None, 0.1),
        ("momentum", "a tilt", 3, 1e-4),
        ("clipped AdamW", "a tilt", 3, 1e-3),
        ("SGD", "a swap", None, 0.01),
        ("AdamW", "a swap", None, 0.01),
    ],
)
def test_the_excess_of_real_runs_is_predicted(kind, what, points, within):
    found, seen = predicted(kind, what, points)
    assert error(found, seen) <= within  # order: what the points leave
    assert found.answered
    assert found.cost.training_steps > 0


def test_the_reference_that_is_taken_for_the_schedule_is_caught(monkeypatch):
    right = Training.sweep
    monkeypatch.setattr(
        Training,
        "sweep",
        lambda self, w, *rest: right(self, np.tile(w.mean(axis=0), (len(w), 1)), *rest),
    )
    found, seen = predicted("SGD", "a tilt", None)
    assert error(found, seen) > 0.1


def test_slopes_that_do_not_explain_the_losses_make_it_abstain():
    found, seen = predicted("momentum", "a swap", slower=1.0)
    assert error(found, seen) > 0.3
    assert not found.answered
    assert "unexplained" in found["a"].verdict.quantity
    assert "more points=" in found["a"].verdict.words


def test_the_first_variation_ranks_schedules_near_the_one_it_was_taken_along():
    model, optimizer, _ = start("AdamW", "in the middle")
    data, held_out = tokens(1, 20), tokens(2, 2)
    base = SCHEDULES["a tilt"].averaged()
    found = first_variation(
        model, next_token_loss, data, base, TARGETS, optimizer=optimizer, held_out=held_out
    )
    small = WeightSchedule.tilt(THIRD, "a", "b", 1e-4, 10)
    seen = observed_excess(model, optimizer, None, small, data, held_out, 0.01)
    assert np.abs(np.array(list(found.excess(small).values())) / seen - 1).max() < 0.01  # order: δ
    assert found.sensitivity["a"].shape == (20, 3)
    with pytest.raises(CommuteError, match="over 20 steps"):
        found.excess(WeightSchedule.tilt(THIRD, "a", "b", 0.1, 11))
    with pytest.raises(CommuteError, match="a schedule of"):
        found.excess(WeightSchedule.blocks({"a": 10, "b": 10}))


def test_the_error_of_more_points_falls_faster():
    found = [predicted("SGD", "a swap", points, slower=1.0) for points in (1, 2, 4)]
    errors = [error(*pair) for pair in found]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert not found[0][0].answered
    assert "a single sweep needs" in found[0][0]["a"].verdict.quantity


def test_a_single_sweep_abstains_however_near_the_schedules_are():
    assert predicted("SGD", "a tilt")[0].answered
    assert not predicted("SGD", "a tilt", 1)[0].answered


def test_the_run_is_left_as_it_was():
    model, optimizer, _ = start("AdamW", "in the middle")
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    schedule = SCHEDULES["a tilt"]
    predict_excess_loss(
        model, next_token_loss, tokens(1, 20), schedule, optimizer=optimizer, predictor="trajectory"
    )
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[0][name])
    for number, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            assert torch.equal(value, before[1]["state"][number][key])


def ask(model, schedule=SCHEDULES["a tilt"], data=None, **options):
    options = {"optimizer": 0.1, "predictor": "trajectory"} | options
    return predict_excess_loss(model, next_token_loss, data or tokens(1, 20), schedule, TARGETS, **options)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda p: torch.optim.RMSprop(p, lr=0.1), "RMSprop is not supported"),
        (lambda p: torch.optim.AdamW(p, lr=0.1, amsgrad=True), "amsgrad"),
        (lambda p: torch.optim.SGD(p, lr=0.1, maximize=True), "maximize"),
        (lambda p: torch.optim.SGD(p[:1], lr=0.1), "does not train"),
        (
            lambda p: torch.optim.SGD(
                [{"params": p[:1], "momentum": 0.1}, {"params": p[1:], "momentum": 0.2}], lr=0.1
            ),
            "differ in momentum",
        ),
    ],
)
def test_an_optimizer_that_is_not_supported_is_named(optimizer, message):
    model = language_model()
    with pytest.raises(CommuteError, match=message):
        ask(model, optimizer=optimizer(list(model.parameters())))


def test_a_window_longer_than_the_batches_is_refused():
    with pytest.raises(CommuteError, match="holds 19 batches for a window of 20 steps"):
        ask(language_model(), data=tokens(1, 19))


def test_a_window_of_broken_steps_is_refused():
    with pytest.raises(CommuteError, match="whole numbers of steps"):
        ask(language_model(), WeightSchedule.tilt(THIRD, "a", "b", 0.15, 9.5))


def test_a_number_that_is_none_on_the_way_is_named_with_its_step():
    calls = []

    def breaking(model, batch):
        total, weight = next_token_loss(model, batch)
        calls.append(1)
        return total * (math.nan if len(calls) > 20 else 1.0), weight

    with pytest.raises(CommuteError, match=r"domain '.', batch \d+: the loss is nan"):
        predict_excess_loss(
            language_model(),
            breaking,
            tokens(1, 20),
            SCHEDULES["a tilt"],
            optimizer=0.1,
            predictor="trajectory",
        )
    with pytest.raises(CommuteError, match=r"not finite|loss is"):
        ask(language_model(), optimizer=1e300)
