"""What a schedule does over a window, by the ladder of predictors, at a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from commute_verify.cli.estimate import Asked, Measured
    from commute_verify.cli.verdict import Window
    from commute_verify.criterion import Prediction
    from commute_verify.schedules import WeightSchedule

REPLICATES = 4


def predict(measured: Measured, asked: Asked, window: Window, schedule: WeightSchedule) -> Prediction:
    """``predict_excess_loss`` on half of the batches, targets on the other half.

    As many replicates, up to 4, as there are batches for: a trajectory takes a batch of every domain for each
    step. Raises CommuteError where the batches do not suffice for one.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from commute_verify.criterion import predict_excess_loss

    name = asked.options.predictor
    adam = measured.preconditioner is not None
    fewest = window.steps if name in ("trajectory", "auto") else 2
    half = min(len(batches) for batches in measured.batches.values()) // 2
    if half < fewest:
        raise CommuteError(
            f"--predictor {name} over {window.steps} steps takes {2 * fewest} batches of each domain, and "
            f"there are {2 * half}; give more text, a smaller --batch-size, or a shorter --window"
        )
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
            seed=asked.options.seed,
        )
