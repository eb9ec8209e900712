"""The criterion on several ranks, under a real ``torchrun``: one process's numbers, and errors, not hangs."""

import pytest
from torch import distributed

import commute_verify as cv
from commute_verify.criterion import dealt
from commute_verify.criterion.ranks import Ranks
from commute_verify.criterion.sampling import group_sizes
from tests import rank_jobs
from tests.criterion_models import squares
from tests.rank_launch import launched, needs_ranks, relative_gap, torchrun

EXACT = 1e-12


def one_process(ranks, kind, method):
    return cv.order_effect(
        rank_jobs.model_of(), squares, rank_jobs.in_one_process(ranks, kind), **rank_jobs.options_of(method)
    )


def check_equal(ranks, effects):
    for case, text in effects.items():
        found, expected = cv.OrderEffect.from_json(text), one_process(ranks, *case.split())
        assert relative_gap(found.P_replicates, expected.P_replicates) <= EXACT, case
        assert relative_gap(found.slope_replicates, expected.slope_replicates) <= EXACT, case
        assert found.cost.gradient_passes == expected.cost.gradient_passes
        assert found.cost.hvp_passes == expected.cost.hvp_passes
        assert f"{ranks} ranks estimated together" in found.notes


@needs_ranks
@pytest.mark.slow
def test_two_ranks_give_the_numbers_of_one_process_with_all_their_batches():
    check_equal(2, launched(2)["equal"])


@needs_ranks
@pytest.mark.nightly
def test_four_ranks_give_the_numbers_of_one_process_with_all_their_batches():
    check_equal(4, launched(4)["equal"])


@needs_ranks
@pytest.mark.slow
def test_a_rank_that_is_not_told_the_weights_of_the_others_would_be_noticed():
    check_equal(2, {case: text for case, text in launched(2)["planted"].items() if case.startswith("even")})
    for method in ("double-backward", "finite-difference"):
        found = cv.OrderEffect.from_json(launched(2)["planted"][f"ragged {method}"])
        assert relative_gap(found.P_replicates, one_process(2, "ragged", method).P_replicates) > 1e-6


@needs_ranks
@pytest.mark.slow
def test_what_one_rank_is_refused_all_are_and_the_probe_runs_on_all():
    first, second = launched(2)["several"]
    for case, words in {
        "one rank has few": "rank 1 failed: ExhaustedError: domain 'a' holds 5 batches of the 13",
        "one rank fails": "rank 1 failed: NotFiniteError: domain 'b', batch 4: the loss is nan",
        "same batches": "ranks 0 and 1 were given the same batches; give every rank batches of its own",
        "other model": "ranks 0 and 1 hold different parameters",
        "other seed": "ranks 0 and 1 were asked different things",
        "until": "until='resolved' on 2 ranks",
    }.items():
        assert words in first["told"][case], case
        assert words.split("Error: ")[-1] in second["told"][case], case
    assert (first["logged"], second["logged"]) == ([2, 4], [])
    assert first["P"] == second["P"]
    assert len(first["P"]) == 2


@needs_ranks
@pytest.mark.slow
def test_a_rank_that_ends_is_a_clear_error_on_the_others_and_no_hang():
    told = torchrun(2, "dies")["dies"]["told"]
    assert told.startswith("rank 0 waited in vain for the others (")
    assert "look for the first error in the logs of all ranks" in told


def test_there_is_a_replicate_for_each_of_many_ranks_where_batches_suffice():
    assert group_sizes(100, 4) == group_sizes(100)
    assert group_sizes(100, 32) == [4] * 4 + [3] * 28
    assert group_sizes(16, 32) == [2] * 8


def test_a_process_alone_exchanges_with_itself_and_what_is_no_group_is_refused():
    assert Ranks().exchange({"a": 1}) == [{"a": 1}]
    for given in (2, "world", distributed.GroupMember.NON_GROUP_MEMBER):
        with pytest.raises(
            cv.CommuteError, match=r"process_group.*; give torch.distributed.group.WORLD after"
        ):
            cv.order_effect(
                rank_jobs.model_of(), squares, rank_jobs.domains_of(0, "even"), process_group=given
            )


def test_ranks_with_the_same_losses_in_every_domain_are_told_apart_from_those_with_some():
    same = {"a": {(0, 1): (1.5, 2.0)}, "b": {(0, 1): (2.5, 2.0)}}
    other = {"a": {(1, 1): (1.5, 2.0)}, "b": {(1, 1): (2.0, 2.0)}}
    dealt._check_own([same, other, {"a": {}, "b": {}}, {"a": {}, "b": {}}])
    with pytest.raises(cv.CommuteError, match="ranks 0 and 2 were given the same batches"):
        dealt._check_own([same, other, same])
