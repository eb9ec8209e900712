"""The state of a mixture, plain data, held to what it must be before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from commute_verify.errors import CommuteError
from commute_verify.mixture.turns import Turns

FORMAT, VERSION = "commute_verify.scheduled_mixture", 1
FIELDS = {"identity", "position", "counts", "spent", "plan", "end", "streams", "worker"}


def pack(
    identity: Mapping[str, Any],
    position: int,
    counts: list[int],
    spent: list[int],
    turns: Turns,
    streams: Mapping[str, Any],
    worker: list[int] | None,
) -> dict[str, Any]:
    """The state as plain data; ``worker`` is [its number, of how many, groups so far], where one says it."""
    plan = [list(turns.starts), [list(b) for b in turns.bases], [list(w) for w in turns.weights]]
    return {
        "format": FORMAT,
        "version": VERSION,
        "identity": dict(identity),
        "position": position,
        "counts": list(counts),
        "spent": list(spent),
        "plan": plan,
        "end": turns.end,
        "streams": dict(streams),
        "worker": worker,
    }


def unpack(state: object, identity: Mapping[str, Any]) -> tuple[Mapping[str, Any], Turns]:
    """The state's fields and its plan; CommuteError for another version or mixture, or a damaged one."""
    if not isinstance(state, Mapping) or (state.get("format"), state.get("version")) != (FORMAT, VERSION):
        raise CommuteError("not the state of a ScheduledMixture, or of another version: give state_dict()")
    lacking = sorted(FIELDS - set(state))
    if lacking:
        raise CommuteError(f"a state without {', '.join(lacking)}: give all that state_dict() returned")
    theirs = state["identity"]
    if not isinstance(theirs, Mapping):
        raise CommuteError("a state that is damaged in 'identity': give all that state_dict() returned")
    for what, mine in identity.items():
        if theirs.get(what) != mine:
            raise CommuteError(
                f"a state of another mixture: its {what} is {theirs.get(what)!r}, here it is {mine!r}: "
                "build it as it was"
            )
    return state, _plan(state, len(identity["domains"]))


def _plan(state: Mapping[str, Any], K: int) -> Turns:
    """The plan, if every number in the state can be one."""
    counts, spent, position, worker = (state[field] for field in ("counts", "spent", "position", "worker"))
    try:
        starts, bases, weights = state["plan"]
        numbers = np.array(starts, float), np.array(bases, float), np.array(weights, float)
        S, end = len(starts), float(state["end"])
        sound = (
            S > 0
            and numbers[1].shape == numbers[2].shape == (S, K)
            and all(np.isfinite(array).all() for array in numbers)
            and bool((np.diff([*numbers[0], end]) > 0).all())
            and float(numbers[2].min()) >= 0
            and float(np.abs(numbers[2].sum(axis=1) - 1).max()) < 1e-6
            and all(
                len(each) == K and all(type(n) is int and n >= 0 for n in each) for each in (counts, spent)
            )
            and type(position) is int
            and position == sum(counts)
            and (worker is None or (len(worker) == 3 and all(type(n) is int for n in worker)))
            and isinstance(state["streams"], Mapping)
            and all(
                isinstance(one, Mapping) and {"given", "of_pass", "state"} <= set(one)
                for one in state["streams"].values()
            )
        )
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise CommuteError(
            "a state that is damaged: its numbers do not fit together; give what state_dict() returned"
        )
    return Turns(
        tuple(map(float, starts)),
        tuple(tuple(map(float, row)) for row in bases),
        tuple(tuple(map(float, row)) for row in weights),
        end,
    )
