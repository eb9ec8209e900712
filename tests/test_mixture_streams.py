"""Streams, workers that run ahead, loaders with a state of their own, and a run that is killed."""

import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from commute_verify import CommuteError, ScheduledMixture, WeightSchedule
from commute_verify.mixture import streams
from tests import mixture_killed

PLAN = WeightSchedule.piecewise(
    [(20.0, {"a": 0.5, "b": 0.25, "c": 0.25}), (20.0, {"a": 0.1, "b": 0.6, "c": 0.3})]
)


class Counted(IterableDataset):
    """Says where it stands, and counts what is read of it."""

    read = 0

    def __init__(self, name, length=9):
        self.name, self.length, self.at = name, length, 0

    def __iter__(self):
        start, self.at = self.at, 0
        for n in range(start, self.length):
            self.next = n + 1
            Counted.read += 1
            yield self.name, n

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.at = state["next"]


def followed(make, before, **then):
    """All samples, with a break after some of them where a new mixture goes on from the JSON of the state."""
    mixture = ScheduledMixture(make(), PLAN)
    first = [sample for _, sample in zip(range(before), mixture, strict=False)]
    again = ScheduledMixture(make(), PLAN, **then)
    again.load_state_dict(json.loads(json.dumps(mixture.state_dict())))
    return first, again


@pytest.mark.parametrize("before", [0, 1, 13, 27, 40])
def test_a_stream_with_a_state_goes_on_where_it_stood_pass_after_pass(before):
    def make():
        return {name: Counted(name) for name in "abc"}

    whole = list(ScheduledMixture(make(), PLAN))
    assert [n for name, n in whole if name == "a"][:12] == [*range(9), 0, 1, 2]
    first, again = followed(make, before)
    Counted.read = 0
    assert first + list(again) == whole
    assert Counted.read == 40 - before  # nothing is read twice


def test_a_state_taken_one_sample_too_early_is_seen_by_this_test(monkeypatch):
    monkeypatch.setattr(Counted, "state_dict", lambda self: {"next": self.next - 1})

    def make():
        return {name: Counted(name) for name in "abc"}

    first, again = followed(make, 13)
    assert first + list(again) != list(ScheduledMixture(make(), PLAN))


def test_a_resume_after_workers_skips_from_the_last_known_state():
    def make():
        return {name: Counted(name, 50) for name in "abc"}

    whole = list(ScheduledMixture(make(), PLAN))
    first, again = followed(make, 12, batch_size=4)
    loader = DataLoader(again, batch_size=4, num_workers=2, collate_fn=list)
    second = [sample for _, batch in zip(range(3), loader, strict=False) for sample in batch]
    again.trained(len(second))
    last = ScheduledMixture(make(), PLAN)
    last.load_state_dict(again.state_dict())
    Counted.read = 0
    assert first + second + list(last) == whole
    assert Counted.read == 40 - 12


def test_a_stream_that_is_shorter_than_what_was_read_of_it_is_refused():
    class Plain(IterableDataset):
        def __init__(self, length):
            self.length = length

        def __iter__(self):
            return iter(range(self.length))

    long = ScheduledMixture({name: Plain(30) for name in "abc"}, PLAN, exhausted="error")
    for _ in zip(range(30), long, strict=False):
        pass
    short = ScheduledMixture({name: Plain(4) for name in "abc"}, PLAN, exhausted="error")
    short.load_state_dict(long.state_dict())
    with pytest.raises(CommuteError, match="ends before the"):
        next(iter(short))


class Whose:
    """Which worker reads."""

    def __len__(self):
        return 50

    def __getitem__(self, number):
        return torch.utils.data.get_worker_info().id


def test_workers_take_batches_in_turn_also_after_the_loop_itself_has_read():
    mixture = ScheduledMixture({name: list(range(50)) for name in "abc"}, PLAN, batch_size=4)
    list(zip(range(5), mixture, strict=False))
    mixture.domains = {name: Whose() for name in "abc"}
    loader = DataLoader(mixture, batch_size=4, num_workers=2, collate_fn=set)
    assert list(loader) == [{0}, {1}] * 4 + [{0}]  # 35 samples; the last batch has 3


def test_a_stream_that_has_nothing_on_its_second_pass_is_empty_and_no_endless_loop():
    class Once:
        def __init__(self):
            self.samples = [1, 2]

        def __iter__(self):
            given, self.samples = self.samples, []
            return iter(given)

    with pytest.raises(CommuteError, match="'a' is empty"):
        list(ScheduledMixture({"a": Once()}, WeightSchedule.constant({"a": 1.0}, 5)))


def test_workers_that_are_kept_and_begun_anew_are_refused():
    mixture = ScheduledMixture({name: list(range(50)) for name in "abc"}, PLAN, batch_size=4)
    loader = DataLoader(mixture, batch_size=4, num_workers=1, persistent_workers=True, collate_fn=list)
    next(iter(loader))
    with pytest.raises(CommuteError, match="persistent_workers=False"):
        list(loader)


def test_a_mixture_that_has_been_read_can_be_sent_to_workers():
    mixture = ScheduledMixture({name: Counted(name, 50) for name in "abc"}, PLAN)
    first = [sample for _, sample in zip(range(7), mixture, strict=False)]
    sent = pickle.loads(pickle.dumps(mixture))
    loader = DataLoader(sent, batch_size=4, num_workers=1, collate_fn=list)
    whole = list(ScheduledMixture({name: Counted(name, 50) for name in "abc"}, PLAN))
    assert first + [sample for batch in loader for sample in batch] == whole


def test_a_run_killed_while_its_workers_run_ahead_loses_and_repeats_nothing(tmp_path):
    out, after = tmp_path / "state.json", 5
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(Path(mixture_killed.__file__)), str(out), str(after)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        timeout=300,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    found = json.loads(out.read_text())
    assert len(found["trained"]) == 4 * after
    again = mixture_killed.mixture()
    again.load_state_dict(found["state"])
    rest = [s for batch in DataLoader(again, batch_size=4, num_workers=2, collate_fn=list) for s in batch]
    assert found["trained"] + rest == list(mixture_killed.mixture())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_with_a_state_of_its_own_resumes_exactly(workers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaders = pytest.importorskip("torchdata.stateful_dataloader")
    data = {name: [(name, n) for n in range(40)] for name in "abc"}

    def make():
        mixture = ScheduledMixture(data, PLAN, batch_size=4)
        return loaders.StatefulDataLoader(mixture, batch_size=4, num_workers=workers, collate_fn=list)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchdata's own, of torch.set_vital
        loader = make()
        batches = iter(loader)
        first = [sample for _ in range(3) for sample in next(batches)]
        state = loader.state_dict()
        again = make()
        again.load_state_dict(state)
        rest = [sample for batch in again for sample in batch]
    assert first + rest == list(ScheduledMixture(data, PLAN))


# --- Hugging Face's streams


def rows(name, length):
    for n in range(length):
        yield {"name": name, "n": n}


@pytest.fixture(scope="module")
def streamed():
    datasets = pytest.importorskip("datasets")

    def make(shuffled=False, length=40):
        found = {
            name: datasets.IterableDataset.from_generator(rows, gen_kwargs={"name": name, "length": length})
            for name in "abc"
        }
        return {k: one.shuffle(seed=0, buffer_size=7) if shuffled else one for k, one in found.items()}

    return make


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("before", [5, 22])
def test_hugging_face_streams_resume_exactly_shuffled_or_not(streamed, shuffled, before):
    def make():
        return streamed(shuffled, 9)  # shorter than what is asked: several passes

    whole = list(ScheduledMixture(make(), PLAN))
    first, again = followed(make, before)
    assert first + list(again) == whole
    assert bool(again.state_dict()["streams"]) is not shuffled  # a shuffle buffer has no state to be trusted


def test_a_stream_gives_what_it_gives_outside_of_the_mixture(streamed):
    alone = list(streamed()["a"])
    mixture = ScheduledMixture({"a": streamed()["a"]}, WeightSchedule.constant({"a": 1.0}, 40))
    assert list(mixture) == alone


def test_workers_see_all_shards_of_a_hugging_face_stream(streamed):
    whole = list(ScheduledMixture(streamed(), PLAN))
    mixture = ScheduledMixture(streamed(), PLAN, batch_size=4)
    loader = DataLoader(mixture, batch_size=4, num_workers=2, collate_fn=list)
    assert [sample for batch in loader for sample in batch] == whole


def test_a_stream_split_by_node_already_is_refused(streamed):
    from datasets.distributed import split_dataset_by_node

    split = streamed() | {"a": split_dataset_by_node(streamed()["a"], rank=0, world_size=2)}
    with pytest.raises(CommuteError, match="split by node"):
        ScheduledMixture(split, PLAN)


def test_two_mixtures_over_one_stream_keep_their_own_places(streamed):
    data = streamed()
    whole = list(ScheduledMixture(streamed(), PLAN))
    one, other = ScheduledMixture(data, PLAN), ScheduledMixture(data, PLAN)
    first = [sample for _, sample in zip(range(9), one, strict=False)]
    list(zip(range(25), other, strict=False))
    again = ScheduledMixture(data, PLAN)
    again.load_state_dict(one.state_dict())
    assert first + list(again) == whole


def test_a_shuffled_stream_set_where_its_state_says_is_seen(streamed, monkeypatch):
    monkeypatch.setattr(streams, "goes_on", lambda dataset: True)
    first, again = followed(lambda: streamed(True), 22)
    assert first + list(again) != list(ScheduledMixture(streamed(True), PLAN))


def test_streams_that_share_their_place_are_seen(streamed, monkeypatch):
    monkeypatch.setattr(streams, "copied", lambda dataset: dataset)
    data = streamed()
    one, other = ScheduledMixture(data, PLAN), ScheduledMixture(data, PLAN)
    first = [sample for _, sample in zip(range(9), one, strict=False)]
    list(zip(range(25), other, strict=False))
    again = ScheduledMixture(streamed(), PLAN)
    again.load_state_dict(one.state_dict())
    assert first + list(again) != list(ScheduledMixture(streamed(), PLAN))


def test_workers_that_are_given_their_own_shards_alone_are_seen(streamed, monkeypatch):
    monkeypatch.setattr(streams, "whole", iter)
    mixture = ScheduledMixture(streamed(), PLAN, batch_size=4)
    with pytest.raises(CommuteError, match="is empty"):
        list(DataLoader(mixture, batch_size=4, num_workers=2, collate_fn=list))
