"""Models sharded by FSDP2, under a real ``torchrun``: the whole model's numbers, and errors, not hangs."""

import numpy as np
import pytest
import torch
from torch import distributed

import commute_verify as cv
from tests.criterion_models import next_token_loss, tiny_lm
from tests.rank_launch import launched, relative_gap

if not distributed.is_available():
    pytest.skip("no torch.distributed here", allow_module_level=True)

from tests import sharded_jobs

pytestmark = pytest.mark.slow
DIFFERENCES = 1e-8
"""What central differences in float64 leave of P, relative to its size."""


def whole(ranks, preconditioned):
    """The same parameters and batches, each that of all ranks together, in one process without FSDP."""
    found = launched(ranks)["sharded"]
    model = tiny_lm().model
    parameters = list(model.parameters())
    torch.nn.utils.vector_to_parameters(torch.tensor(found["theta"], dtype=torch.float64), parameters)
    data = {
        name: [torch.cat(batches[n : n + ranks]) for n in range(0, len(batches), ranks)]
        for name, batches in sharded_jobs.tokens_of(7, ranks).items()
    }
    D = None
    if preconditioned:
        flat = torch.tensor(found["D"], dtype=torch.float64).split([p.numel() for p in parameters])
        D = cv.AdamPreconditioner({p: part.view_as(p) for p, part in zip(parameters, flat, strict=True)}, {})
    options = sharded_jobs.OPTIONS | {"method": "double-backward", "preconditioner": D}
    return cv.order_effect(model, next_token_loss, data, **options)


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", ["plain", "adam"])
def test_a_sharded_model_gives_the_numbers_of_the_whole_one_to_the_error_of_differences(ranks, name):
    found = cv.OrderEffect.from_json(launched(ranks)["sharded"][name])
    expected = whole(ranks, name == "adam")
    assert found.method == "finite-difference"
    assert relative_gap(found.P_replicates, expected.P_replicates) <= DIFFERENCES
    assert relative_gap(found.slope_replicates, expected.slope_replicates) <= DIFFERENCES


def test_a_forgotten_preconditioner_or_factor_would_be_noticed():
    found = cv.OrderEffect.from_json(launched(2)["sharded"]["plain"])
    assert relative_gap(found.P_replicates, whole(2, True).P_replicates) > 1e-2
    averaged = found.P_replicates / 2**3  # gradients that are averaged over the ranks and not summed
    assert relative_gap(averaged, whole(2, False).P_replicates) > 0.5


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.nightly)])
def test_parameters_gradients_and_moments_are_left_bit_for_bit(ranks):
    found = launched(ranks)["sharded"]
    assert found["bitwise"] == [True] * ranks
    assert False in found["never put back"]


def test_what_a_sharded_model_is_refused_is_one_clear_error_on_every_rank():
    first, second = launched(2)["refused_sharded"]["told"]
    for case, words in {
        "method": "method='double-backward' on a sharded model; give finite-difference",
        "group": "a process_group with a sharded model, whose ranks work together already; leave it out",
        "time": "a budget in time on a sharded model, whose ranks' clocks differ; give passes",
        "seed": "ranks 0 and 1 were asked different things",
        "few": "domain 'a' holds 4 batches of the 10 that are needed",
        "stream": "domain 'a' ran out after",
        "factor": "FSDP's gradients, times 2 ranks, are 2 times those of the summed loss",
        "unsynced": "FSDP leaves no gradient on the chosen parameters; call between optimizer steps, with",
        "partly": "parameter embedding.weight is on every rank and others are sharded; call fully_shard on",
        "axes": "parameters spread over several axes or meshes; give a model sharded over one axis by",
        "noise": "CommuteError: parameters spread over ranks, which order_effect alone takes",
        "predict": "CommuteError: parameters spread over ranks, which order_effect alone takes",
        "bracket": "CommuteError: parameters spread over ranks, which order_effect alone takes",
    }.items():
        assert words in first[case], case
        assert words in second[case], case


def test_what_one_rank_meets_the_others_are_told():
    first, second = launched(2)["refused_sharded"]["told"]
    assert first["few"].startswith("RankError: rank 1 failed: ExhaustedError: domain 'a' holds 4")
    assert first["stream"].startswith("ExhaustedError")
    assert second["stream"].startswith("ExhaustedError")
    assert first["reader"].startswith("RankError: rank 1 failed: OSError: no such shard")
    assert second["reader"] == "OSError: no such shard"
    assert "domain 'a', batch 1: the loss of another rank's part of this batch was refused" in first["loss"]
    assert "domain 'a', batch 1: the weight is" in second["loss"]


def test_of_a_model_that_is_sharded_in_part_that_part_is_measured():
    assert np.isfinite(launched(2)["refused_sharded"]["parts"]).all()


def test_the_probe_measures_a_sharded_run_and_leaves_it_bitwise_as_it_was():
    first, second = launched(2)["probed_sharded"]
    assert first["harmless"] is second["harmless"] is True
    assert (first["logged"], second["logged"]) == ([0, 2], [])
    assert first["P"] == second["P"]
    assert first["by a trainer"] == second["by a trainer"]
    assert {step: len(P) for step, P in first["P"].items()} == {"0": 6, "2": 6}  # until batches end on all


def test_a_rank_that_ends_is_a_clear_error_on_the_others_whose_shards_are_put_back():
    found = launched(2)["dies_sharded"]
    assert found["told"].startswith("domain 'a', batch 4: rank 0 waited in vain for the others (")
    assert "GLHF" not in found["told"]
    assert found["bitwise"] is True
