"""What a schedule does over a window, by the ladder of predictors, at a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from torch import Tensor

    from commute_verify.cli.estimate import Asked, Measured
    from commute_verify.cli.verdict import Window
    from commute_verify.criterion import Prediction
    from commute_verify.schedules import WeightSchedule

REPLICATES = 4


def halved(asked: Asked, batches: Mapping[str, list[Tensor]]) -> tuple[int, int]:
    """Half of the batches of a domain, and how many a replicate takes. Raises CommuteError for too few."""
    name, steps = asked.options.predictor, asked.options.window
    fewest = steps if name in ("trajectory", "auto") else 2
    half = min(map(len, batches.values())) // 2
    if half < fewest:
        raise CommuteError(
            f"--predictor {name} over {steps} steps takes {2 * fewest} batches of each domain, and there are "
            f"{2 * half}; give more text, a smaller --batch-size, or a shorter --window"
        )
    return half, fewest


def predict(measured: Measured, asked: Asked, window: Window, schedule: WeightSchedule) -> Prediction:
    """``predict_excess_loss`` on half of the batches, targets on the other half.

    As many replicates, up to 4, as there are batches for: a trajectory takes a batch of every domain for each
    step, and is the mean over both orders of the halves' batches, whose luck is larger than a short window's
    effect.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from commute_verify.criterion import predict_excess_loss

    name = asked.options.predictor
    adam = measured.preconditioner is not None
    half, fewest = halved(asked, measured.batches)
    replicates = min(REPLICATES, half // fewest)
    used = replicates * fewest if name in ("trajectory", "auto") else half
    with sdpa_kernel(SDPBackend.MATH):
        return predict_excess_loss(
            measured.checkpoint.model,
            measured.checkpoint.loss_fn,
            {domain: batches[:used] for domain, batches in measured.batches.items()},
            schedule,
            measured.effect.mixing,
            optimizer=measured.checkpoint.optimizer() if adam else window.lr,
            predictor=name,
            held_out={domain: batches[half : half + used] for domain, batches in measured.batches.items()},
            lr=[window.lr] * window.steps if adam else None,
            replicates=replicates,
            exchange=window.steps // 2,
            seed=asked.options.seed,
        )
