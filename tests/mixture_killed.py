"""Trains on a mixture with two workers, notes every batch and the state after it, and is killed mid-epoch."""

import json
import os
import signal
import sys
from pathlib import Path

from torch.utils.data import DataLoader

from commute_verify import ScheduledMixture, WeightSchedule

PLAN = WeightSchedule.tilt({"a": 0.5, "b": 0.25, "c": 0.25}, "a", "b", 0.2, 30)
DATA = {name: [f"{name}{n}" for n in range(17)] for name in "abc"}


def mixture():
    return ScheduledMixture(DATA, PLAN, batch_size=4)


def replaced(path, text):
    path.with_suffix(".part").write_text(text)
    os.replace(path.with_suffix(".part"), path)


if __name__ == "__main__":
    out, kill_after = Path(sys.argv[1]), int(sys.argv[2])
    one = mixture()
    trained = []
    for step, batch in enumerate(
        DataLoader(one, batch_size=4, num_workers=2, prefetch_factor=4, collate_fn=list)
    ):
        trained += batch
        one.trained(len(batch))
        replaced(out, json.dumps({"trained": trained, "state": one.state_dict()}))
        if step + 1 == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
