"""Effects of several ranks, pooled: all replicates together, over ragged batches and real processes."""

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing, nn

from commute_verify import CommuteError, OrderEffect, order_effect
from commute_verify.criterion import pooled
from tests.criterion_models import one_thread, regression, squares


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


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
