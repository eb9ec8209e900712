r"""Whose turn it is where samples have lengths: the plan held in tokens.

With N the tokens so far and y_k those of domain k, at every end of a sample

    |y_k − W_k(N)| ≤ the length of the longest sample.

Those domains may come whose next sample the plan has begun, W_k(N) ≥ y_k; of these the one whose next sample
the plan ends first, W_k(M) ≥ y_k + length at the smallest M.

Why. The plan trains domain k's samples one after another at the rate w_k: a sample is released when W_k
reaches its beginning, and due when W_k reaches its end. One domain is always released, since Σ W_k(N) = N =
Σ y_k. None begins before its release, so that y_k leads by at most its own length. Let a sample end after it
is due, and let t be the last time before it when a sample due later was begun: all that is trained after
that one was released after t and is due in time, so the plan fits it between t and the due date; the delay is
that of the one sample begun at t.
Source: the rule is worst-case fair weighted fair queueing (Bennett and Zhang, WF²Q, 1996), for weights that
change.
"""

from __future__ import annotations

from collections.abc import Sequence

from commute_verify.mixture.turns import SLACK, Turns


def earliest_end(turns: Turns, spent: Sequence[int], lengths: Sequence[int]) -> int:
    """The domain that comes next, after ``spent`` (K,) tokens, each domain's next sample so long.

    >>> from commute_verify.schedules import WeightSchedule
    >>> turns = Turns.of(WeightSchedule.constant({"en": 0.5, "ru": 0.5}, 100))
    >>> earliest_end(turns, [0, 0], [30, 10]), earliest_end(turns, [0, 10], [30, 10])
    (1, 0)
    """
    total = sum(spent)
    room = SLACK * max(1, total)
    behind = [w - y for w, y in zip(turns.plan(total), spent, strict=True)]
    ready = [k for k, gap in enumerate(behind) if gap >= -room] or [
        max(range(len(spent)), key=behind.__getitem__)
    ]
    return min(ready, key=lambda k: (turns.reaches(k, spent[k] + lengths[k]), -behind[k], k))
