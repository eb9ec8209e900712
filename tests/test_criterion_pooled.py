"""Effects of several ranks, pooled: all replicates together, over ragged batches and real processes."""

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing, nn

from commute_verify import CommuteError, OrderEffect, order_effect, pooled
from tests.criterion_models import regression, squares


def rank_effect(rank, **options):
    torch.manual_seed(0)
    model = nn.Linear(2, 1).double()
    draw = torch.Generator().manual_seed(rank)
    data = {name: [regression(draw, 1 + n % 4) for n in range(24)] for name in "ab"}
    options = {"batches": 12, "method": "double-backward", "progress": False} | options
    return order_effect(model, squares, data, **options)


def test_pooled_replicates_are_those_of_all_ranks_and_passes_are_summed():
    effects = [rank_effect(rank) for rank in range(3)]
    found = pooled(effects)
    everything = [P for effect in effects for P in effect.P_replicates]
    assert np.array_equal(found.P_replicates, np.array(everything))
    assert np.abs(found.P["a"] - np.mean(everything, axis=0)[0]).max() <= 1e-14  # roundoff
    assert found.cost.gradient_passes == 3 * effects[0].cost.gradient_passes
    assert found.cost.evaluations == sum(effect.cost.evaluations for effect in effects)
    assert np.all(found.rounding >= effects[0].rounding)
    assert pooled(effects[:1]).P_replicates.tobytes() == effects[0].P_replicates.tobytes()


def work(rank, store, results):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    texts = [None, None]
    distributed.all_gather_object(texts, rank_effect(rank).to_json())
    results.put(pooled([OrderEffect.from_json(text) for text in texts]).to_json())
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not distributed.is_available(), reason="this PyTorch has no torch.distributed")
def test_two_processes_pool_to_the_same_effect(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    multiprocessing.spawn(work, (str(tmp_path / "store"), results), nprocs=2)
    one, two = (OrderEffect.from_json(results.get()) for _ in range(2))
    expected = pooled([rank_effect(0), rank_effect(1)])
    for found in (one, two):
        assert np.array_equal(found.P_replicates, expected.P_replicates)


def test_effects_that_do_not_belong_together_are_refused():
    with pytest.raises(CommuteError, match="no effects to pool"):
        pooled([])
    with pytest.raises(CommuteError, match="different domains or targets"):
        pooled([rank_effect(0), rank_effect(1, targets={"a": {"a": 1.0}})])
    with pytest.raises(CommuteError, match="give every rank a number of batches"):
        pooled([rank_effect(0, until="resolved", budget=400)])


def test_ranks_that_were_given_the_same_batches_are_refused():
    """Eight copies of one estimate would turn p = 0.06 into 1e-15."""
    own, other = rank_effect(0), rank_effect(1)
    for effects, twins in (
        ([own] * 8, "1 and 2"),
        ([own, other, rank_effect(0)], "1 and 3"),
        ([other, OrderEffect.from_json(own.to_json()), own], "2 and 3"),
        ([own, rank_effect(0, batches=24)], None),
    ):
        if twins is None:
            pooled(effects)
            continue
        with pytest.raises(CommuteError, match=f"^effects {twins} hold a replicate .* batches of its own$"):
            pooled(effects)


def test_one_shared_replicate_is_noticed():
    own, other = rank_effect(0), rank_effect(1)
    P, slopes = other.P_replicates.copy(), other.slope_replicates.copy()
    P[2], slopes[2] = own.P_replicates[1], own.slope_replicates[1]
    shared = OrderEffect(other.domains, other.mixing, P, slopes, other.cost, other.method)
    with pytest.raises(CommuteError, match="effects 1 and 2 hold a replicate"):
        pooled([own, shared])
    slopes[2] *= 1 + 2**-52
    pooled([own, OrderEffect(other.domains, other.mixing, P, slopes, other.cost, other.method)])


def test_a_generator_of_effects_is_pooled_as_their_list_is():
    ranks = [rank_effect(rank) for rank in range(2)]
    assert pooled(effect for effect in ranks).to_json() == pooled(ranks).to_json()


@pytest.mark.parametrize(
    ("effects", "words"),
    [
        (None, "effects=None; give a list of every rank's effect"),
        (3, "effects=3; give a list"),
        ("text", "effect 1 is a str; give order effects, and read texts with OrderEffect.from_json"),
        ([None], "effect 1 is a NoneType"),
        (iter(()), "no effects to pool"),
    ],
)
def test_what_is_no_list_of_effects_is_named(effects, words):
    with pytest.raises(CommuteError, match=f"^{words}"):
        pooled(effects)


def test_an_effect_alone_is_no_list():
    with pytest.raises(CommuteError, match="effects is an OrderEffect; give a list of every rank's effect"):
        pooled(rank_effect(0))
