"""All that ``commute-verify effect`` says, in order: verdict, pairs, weights, validity, cost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from commute_verify.cli.predicting import predict
from commute_verify.cli.verdict import Window, pair_weights, predicted, reach_words, said
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from commute_verify.checkpoints import Checkpoint
    from commute_verify.cli.estimate import Asked, Measured
    from commute_verify.criterion import Prediction

ADAM = (
    "Under Adam, order and bracket need not agree beyond the local regime: the plain bracket's signs are "
    "reported to be at chance (Sweeney, arXiv 2606.24993), and in this project's study of English and "
    "Russian the plain one was right in 56 of 80 reorderings, the preconditioned one in 40."
)


@dataclass(frozen=True, eq=False)
class Answer:
    """Paragraphs for the screen; ``table`` is the index of the one that holds the table of pairs."""

    measured: Measured
    parts: tuple[tuple[str, ...], ...]
    resolved: bool


def answer(measured: Measured, asked: Asked, window: Window | None) -> Answer:
    """Put an effect into words."""
    effect = measured.effect
    bare = [said(effect, target, asked.weights, None) for target in effect.targets]
    resolved = effect.unresolved() == 0
    verdict = [one.words for one in bare]
    validity: list[str] = []
    if window is not None and asked.options.predictor == "local":
        valid, words = reach_words(measured.curvature, measured.uncurved, window)
        validity.append(words)
        if valid is not False:
            found = [said(effect, target, asked.weights, window) for target in effect.targets]
            verdict = [one.words for one in found]
        else:
            verdict = [
                f"No verdict over this window: {told(window)} lie outside the local regime.",
                *(f"At this point: {one.words}" for one in bare),
            ]
        resolved = resolved and valid is not False
    elif window is not None:
        head = bare[0]
        used = pair_weights(effect, asked.weights, head.first, head.later)
        prediction = predict(measured, asked, window, window.tilt(head.first, head.later, used))
        same = [one for one in bare if {one.first, one.later} == {head.first, head.later}]
        judged = [predicted(prediction, one, head, window, used) for one in same]
        verdict = [*(words for _, words in judged), *(f"At this point: {one.words}" for one in bare)]
        resolved = resolved and all(stands for stands, _ in judged)
        validity += [*map(capital, prediction.notes), cost_of(prediction)]
    if measured.checkpoint.optimizer_state is not None:
        validity.append(ADAM)
    table = tuple(str(effect).split("\n\n", 1)[1].splitlines())
    parts = [
        tuple(verdict),
        table,
        weights_words(measured, asked),
        (*notes(measured), *validity),
        cost(measured),
    ]
    return Answer(measured, tuple(part for part in parts if part), resolved)


def window_of(checkpoint: Checkpoint, asked: Asked) -> Window | None:
    """The window that was asked for, at its learning rate."""
    options = asked.options
    if options.window is None:
        if options.lr is not None or options.predictor != "local":
            raise CommuteError(
                "--lr and --predictor say what is done over a window; give --window STEPS as well"
            )
        return None
    lr = options.lr if options.lr is not None or options.plain else checkpoint.lr
    if not lr:
        held = "holds none" if lr is None else "stands at lr 0 here, at the end of its schedule"
        raise CommuteError(f"--window needs a learning rate, and the checkpoint {held}; give --lr")
    nothing = [name for name, weight in (asked.weights or {}).items() if not weight]
    if nothing:
        raise CommuteError(
            f"--weights give {nothing[0]} nothing, so that its place in the window cannot be told; give it "
            "some, or leave it out"
        )
    return Window(options.window, lr)


def told(window: Window) -> str:
    """The window in words."""
    return f"{window.steps} steps at lr {window.lr:g}"


def weights_words(measured: Measured, asked: Asked) -> tuple[str, ...]:
    """What the corollary says of the run's own weights, if they were given."""
    if asked.weights is None:
        return ()
    given = ", ".join(f"{name} {weight:g}" for name, weight in asked.weights.items())
    found = measured.effect.optimality(asked.weights)
    if not found:
        return (f"At weights {given} no tilt is resolved to lower a target.",)
    return (f"At weights {given} the schedule is not optimal:", *(one.words for one in found))


def notes(measured: Measured) -> tuple[str, ...]:
    """Where the numbers are from."""
    held = (
        note
        for note in measured.effect.notes
        if not re.match(r"start-up probe|[a-z-]+ is out:|\S+: step \d", note)
    )
    return tuple(map(capital, held))


def capital(note: str) -> str:
    """The note as a sentence."""
    return f"{note[:1].upper()}{note[1:]}."


def cost(measured: Measured) -> tuple[str, ...]:
    """What it took."""
    spent = measured.effect.cost
    return (
        f"Cost: {spent.gradient_passes} gradients and {spent.hvp_passes} Hessian-vector products of one "
        f"batch ({measured.effect.method}), {spent.seconds:.3g} s, peak memory "
        f"{spent.peak_bytes / 2**30:.2g} GiB; {len(measured.effect.P_replicates)} replicates, "
        f"{measured.effect.stopped}.",
    )


def cost_of(prediction: Prediction) -> str:
    """What a prediction took."""
    spent = prediction.cost
    return (
        f"The prediction took {spent.gradient_equivalents} gradients, as much as {spent.training_steps:.0f} "
        "steps of training."
    )
