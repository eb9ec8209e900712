"""Iterable datasets, pass after pass, that go on where they stood when they can say where that is."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from commute_verify.errors import CommuteError


class Streamed:
    """The samples of an iterable, again from the beginning after its end where ``repeat``.

    A stream that has ``state_dict`` and ``load_state_dict`` is set where it stood; any other is read from the
    beginning. Those of Hugging Face's datasets give a DataLoader's worker the shards of that worker alone:
    they are read so that every worker sees all of them, as the shared order asks.
    """

    def __init__(
        self, name: str, dataset: Iterable[Any], repeat: bool, record: Mapping[str, Any] | None
    ) -> None:
        """Begin at the record, or at the beginning."""
        own = copied(dataset) if goes_on(dataset) else None
        self._name, self._repeat = name, repeat
        self._dataset: Any = dataset if own is None else own
        self._resumable = own is not None
        self._record = dict(record) if record and self._resumable else None
        self.given = int(self._record["given"]) if self._record else 0
        self._of_pass = int(self._record["of_pass"]) if self._record else 0
        self._begun = self._plain = False
        self._samples = self._passes()

    def __iter__(self) -> Iterator[Any]:
        """Itself."""
        return self

    def __next__(self) -> Any:
        """The next sample; StopIteration at the end."""
        sample = next(self._samples)
        self.given += 1
        self._begun = True
        return sample

    def record(self) -> dict[str, Any] | None:
        """Where the stream stands: samples given, those of this pass, and its own state."""
        if not self._begun:
            return self._record
        if not self._resumable or self._plain:
            return None
        state: Any = self._dataset.state_dict()
        return {"given": self.given, "of_pass": self._of_pass, "state": copy.deepcopy(state)}

    def _passes(self) -> Iterator[Any]:
        again = True
        if self._record:
            self._dataset.load_state_dict(copy.deepcopy(self._record["state"]))
        while again:
            for n, sample in enumerate(whole(self._dataset)):
                if n == 0 and hugging_face(self._dataset):
                    self._dataset.load_state_dict(None)
                    self._plain = not isinstance(sample, Mapping)  # a table, whose state may skip a batch
                self._of_pass += 1
                yield sample
            if not self._of_pass:
                raise CommuteError(f"domain {self._name!r} is empty: give it at least one sample")
            if hugging_face(self._dataset):
                self._dataset.load_state_dict(None)
            self._of_pass = 0
            again = self._repeat


def copied(dataset: Any) -> Any:
    """A copy whose state is nobody else's, or None where it cannot be copied."""
    try:
        return copy.deepcopy(dataset)
    except Exception:  # whatever a stream's own parts raise: it is then read from the beginning
        return None


def hugging_face(dataset: object) -> bool:
    """Whether it is an iterable dataset of the library ``datasets``, which need not be installed."""
    mine = any(cls.__module__.partition(".")[0] == "datasets" for cls in type(dataset).__mro__)
    return mine and callable(getattr(dataset, "iter", None)) and hasattr(dataset, "load_state_dict")


def whole(dataset: Any) -> Iterator[Any]:
    """All samples, in a DataLoader's worker too, where one of ``datasets`` would give its share alone."""
    if not hugging_face(dataset):
        yield from dataset
        return
    for batch in dataset.iter(batch_size=1):
        yield {key: column[0] for key, column in batch.items()} if isinstance(batch, Mapping) else batch


def goes_on(dataset: Any) -> bool:
    """Whether its state says exactly where it stands: not with a shuffle buffer, which no state holds."""
    if not (
        callable(getattr(dataset, "state_dict", None)) and callable(getattr(dataset, "load_state_dict", None))
    ):
        return False
    if not hugging_face(dataset):
        return True
    nodes = [getattr(dataset, "_ex_iterable", None)]
    while nodes:
        node = nodes.pop()
        if node is None or hasattr(node, "buffer_size"):
            return False
        nodes += [vars(node)["ex_iterable"]] if "ex_iterable" in vars(node) else []
        nodes += vars(node).get("ex_iterables", [])
    return True
