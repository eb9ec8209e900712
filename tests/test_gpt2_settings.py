"""Settings: what cannot be is refused by name, and what is saved comes back the same."""

import json
import math
from itertools import pairwise

import pytest
import torch

from commute_verify import CommuteError
from experiments.gpt2.model import build, flops_per_token, parameters
from experiments.gpt2.settings import Architecture, Training
from tests.gpt2_small import SETTINGS, SIZE, changed

PRESETS = [Training.smoke(), Training.cpu(), Training.gpu(), Training.paper()]


@pytest.mark.parametrize("settings", [*PRESETS, SETTINGS])
def test_settings_come_back_from_json(settings):
    assert Training.from_plain(json.loads(json.dumps(settings.plain()))) == settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "lion"),
        ("lr", 0.0),
        ("lr", math.nan),
        ("lr", "fast"),
        ("warmup", -1),
        ("decay", "linear"),
        ("floor", 1.5),
        ("weight_decay", -0.1),
        ("betas", (0.9, 1.0)),
        ("betas", (0.9,)),
        ("eps", 0),
        ("clip", 0.0),
        ("batch", 0),
        ("batch", 1.5),
        ("micro_batch", 0),
        ("paradigm", "both"),
        ("precision", "fp8"),
        ("device", "tpu"),
        ("seed", -1),
        ("steps", True),
    ],
)
def test_an_impossible_setting_is_refused_by_name(field, value):
    with pytest.raises(CommuteError, match=field):
        changed(**{field: value})


@pytest.mark.parametrize(
    ("sizes", "named"),
    [((1, 10, 3, 8, 300), "heads"), ((0, 8, 1, 8, 300), "layers"), ((1, 8, 1, 8.0, 300), "context")],
)
def test_an_impossible_architecture_is_refused_by_name(sizes, named):
    with pytest.raises(CommuteError, match=named):
        Architecture(*sizes)


@pytest.mark.parametrize("text", [{}, {"architecture": {}}, {"architecture": 3}, None])
def test_foreign_settings_are_refused(text):
    with pytest.raises(CommuteError, match="not the settings"):
        Training.from_plain(text)


def test_the_learning_rate_warms_up_and_falls_on_half_a_cosine():
    settings = changed(lr=2.0, warmup=4, decay="cosine", floor=0.1, steps=24)
    rates = [settings.lr_at(step) for step in range(30)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[14] == pytest.approx(1.1, rel=1e-12)  # roundoff: halfway between 2.0 and 0.2
    assert rates[24:] == [pytest.approx(0.2, rel=1e-12)] * 6  # roundoff
    assert all(a >= b for a, b in pairwise(rates[4:]))


def test_what_changed_is_named():
    assert SETTINGS.changed(SETTINGS) == []
    other = Training(Architecture(1, 32, 2, 16, 300), lr=1e-2, warmup=3, batch=8, steps=12)
    assert SETTINGS.changed(other) == ["width: 16 → 32", "batch: 6 → 8"]


def test_the_same_seed_builds_the_same_model_and_disturbs_no_other_generator():
    state = torch.get_rng_state()
    first, second, other = build(SIZE, 1), build(SIZE, 1), build(SIZE, 2)
    assert torch.equal(torch.get_rng_state(), state)
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.transformer.wte.weight, other.transformer.wte.weight)


def test_the_cost_of_a_token_counts_every_matrix_that_multiplies_and_the_attention():
    model = build(SIZE, 0)
    matrices = sum(
        p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "wpe" not in name
    )  # the token embedding once: it is the output matrix
    attention = 12 * SIZE.layers * SIZE.width * SIZE.context
    assert flops_per_token(SIZE) == 6 * matrices + attention


@pytest.mark.parametrize(("vocabulary", "millions"), [(50_257, 124.44), (119_552, 177.66)])
def test_the_papers_model_has_the_size_of_gpt2(vocabulary, millions):
    with torch.device("meta"):
        model = build(Training.paper(vocabulary).architecture, 0)
    assert round(parameters(model) / 1e6, 2) == millions
