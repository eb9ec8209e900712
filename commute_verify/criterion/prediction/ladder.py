"""The rungs of the ladder, one by one and the cheapest that answers."""

from __future__ import annotations

import math

from commute_verify.criterion.lanczos import AsymmetryError
from commute_verify.criterion.objective import NotFiniteError
from commute_verify.criterion.prediction.answer import (
    DivergenceError,
    Predicted,
    Prediction,
    PredictionCost,
    Verdict,
)
from commute_verify.criterion.prediction.frozen_curvature import frozen_curvature
from commute_verify.criterion.prediction.left_out import (
    AFFECTED,
    against_clipping,
    against_memory,
    against_skipping,
)
from commute_verify.criterion.prediction.local import local, local_3, local_price
from commute_verify.criterion.prediction.memory import memory
from commute_verify.criterion.prediction.question import Question
from commute_verify.criterion.prediction.rung import Rung, each
from commute_verify.criterion.prediction.surface import Tally
from commute_verify.criterion.prediction.trajectory import trajectory, trajectory_price
from commute_verify.errors import CommuteError

RUNGS: dict[str, Rung] = {
    "local": local,
    "local-3": local_3,
    "frozen-curvature": each(frozen_curvature),
    "trajectory": trajectory,
    "memory": each(memory),
}


def predicted(rung: str, questions: list[Question], tally: Tally) -> Prediction:
    """What one rung says of all replicates, held against what it leaves out."""
    first = questions[0]
    before = tally.gradients, tally.products
    found = RUNGS[rung](questions)
    mean, stderr, verdicts = found.mean()
    notes = found.notes
    if rung in AFFECTED and first.optimizer.clip is not None:
        verdicts = against_clipping(questions, first.optimizer.clip, verdicts)
    if rung in AFFECTED and first.optimizer.remembers:
        verdicts, note = against_memory(questions, mean, verdicts)
        notes = (*notes, note)
    verdicts, told = against_skipping(first, verdicts)
    notes += told
    excess = {
        name: Predicted(float(value), float(error), judged, rung)
        for name, value, error, judged in zip(first.targets, mean, stderr, verdicts, strict=True)
    }
    return Prediction(rung, excess, first.cost(_since(before, tally)), notes)


def auto(questions: list[Question], tally: Tally) -> Prediction:
    """The first rung that answers, target by target; where none does, the last one's abstention."""
    first = questions[0]
    need = _trajectory_misses(questions)
    rungs = _cheapest_first(questions, with_trajectory=need is None)
    if not rungs:
        raise CommuteError(
            "an optimizer that remembers, or a model with dropout, is predicted by the trajectory, which "
            f"takes {need}; give these, or name a predictor"
        )
    tried: list[Prediction] = []
    best: dict[str, Predicted] = {}
    for rung in rungs:
        before = tally.gradients, tally.products
        try:
            tried.append(predicted(rung, questions, tally))
        except AsymmetryError as error:
            tried.append(_failed(rung, first, "products that noise hides", error, _since(before, tally)))
        except (DivergenceError, NotFiniteError) as error:
            tried.append(_failed(rung, first, "a number that is none", error, _since(before, tally)))
        best |= {
            name: found
            for name, found in tried[-1].excess.items()
            if name not in best or not best[name].answered
        }
        if all(found.answered for found in best.values()):
            break
    costs = [one.cost for one in tried]
    total = PredictionCost(
        sum(c.gradients for c in costs),
        sum(c.products for c in costs),
        sum(c.gradient_equivalents for c in costs),
        sum(c.training_steps for c in costs),
    )
    notes = tuple(note for one in tried for note in one.notes)
    if "trajectory" not in rungs and not all(found.answered for found in best.values()):
        notes += (f"the trajectory was not tried: it takes {need}",)
    return Prediction("auto", best, total, notes, tuple(tried))


def _cheapest_first(questions: list[Question], with_trajectory: bool) -> list[str]:
    """The rungs that ``auto`` goes through.

    With replicates that is the trajectory, and local before it where it is cheaper: local goes through all
    batches, the trajectory through one of every domain a step. What is dearer and knows less is not asked
    where that has abstained: neither local, nor frozen curvature, which takes dozens of products through all
    the batches. Both know nothing of the batches' noise. What a single replicate of the trajectory says is of
    its own batches alone, and comes last.
    """
    first = questions[0]
    if first.optimizer.remembers or not first.fields.repeats():
        return ["trajectory"] if with_trajectory else []
    if not with_trajectory:
        return ["local", "frozen-curvature"]
    if len(questions) > 1:
        cheaper = local_price(first) < trajectory_price(first)
        return ["local", "trajectory"] if cheaper else ["trajectory"]
    return ["local", "frozen-curvature", "trajectory"]


def _trajectory_misses(questions: list[Question]) -> str | None:
    """What the trajectory takes and does not find; None where it has everything."""
    first = questions[0]
    if not first.window.whole:
        return f"whole steps, and durations are {first.window.schedule.durations.tolist()}"
    for name, batches in first.fields.batches.items():
        if len(batches) < first.window.length:
            each = f" in each of {len(questions)} replicates" if len(questions) > 1 else ""
            return (
                f"a batch of every domain for each of {first.window.length} steps, and domain {name!r} has "
                f"{len(batches)}{each}"
            )
    return None


def _failed(rung: str, question: Question, what: str, error: CommuteError, spent: Tally) -> Prediction:
    """An abstention where a rung came to no value."""
    judged = Verdict(False, what, math.nan, 0.0, f"abstains: {error}")
    excess = {name: Predicted(math.nan, math.nan, judged, rung) for name in question.targets}
    return Prediction(rung, excess, question.cost(spent), (str(error),))


def _since(before: tuple[int, int], tally: Tally) -> Tally:
    """What has been spent since (gradients, products)."""
    spent = Tally()
    spent.gradients, spent.products = tally.gradients - before[0], tally.products - before[1]
    return spent
