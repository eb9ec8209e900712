"""A case: one excess loss, observed, beside what every predictor says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.gpt2.comparison.excess import At, Excess, excesses
from experiments.gpt2.comparison.predictions import Brackets, Prediction, brackets, rules
from experiments.gpt2.comparison.results import MEAN, Results


@dataclass(frozen=True)
class Case:
    """An observed excess and its predictions; None where a rule makes no call."""

    at: At
    observed: Excess
    predicted: Mapping[str, Prediction | None]

    def agrees(self, by: str) -> bool:
        """Whether the predictor has the observed sign; False where it makes no call."""
        found = self.predicted[by]
        return found is not None and found.value * self.observed.value > 0

    def resolved(self, by: str) -> bool:
        """Whether the observed and the predicted sign are both resolved."""
        found = self.predicted[by]
        return found is not None and found.resolved and self.observed.resolved


Cases = tuple[Case, ...]


def cases(results: Results) -> Cases:
    """All cases of all runs."""
    tails = {(n, b.step, b.window): b.tail_steps for n, run in enumerate(results.runs) for b in run.branches}
    known: dict[At, Brackets] = {}
    found = []
    for at, observed in excesses(results).items():
        alike = at._replace(target=MEAN)
        if alike not in known:
            known[alike] = brackets(results, at, tails[at.run, at.step, at.window] if at.tail else 0)
        predicted = {name: each[at.target] for name, each in known[alike].items()}
        found.append(Case(at, observed, predicted | rules(results, at)))
    return tuple(found)


def select(
    all_cases: Sequence[Case],
    *,
    run: int | None = None,
    step: int | None = None,
    window: int | None = None,
    delta: float | None = None,
    kind: str | None = None,
    tail: bool | None = None,
    targets: Sequence[str] | None = None,
) -> Cases:
    """The cases at what is given; None is everything."""
    wanted = {"run": run, "step": step, "window": window, "delta": delta, "kind": kind, "tail": tail}
    held = [(name, value) for name, value in wanted.items() if value is not None]
    return tuple(
        case
        for case in all_cases
        if all(getattr(case.at, name) == value for name, value in held)
        and (targets is None or case.at.target in targets)
    )
