"""Runs the parts of all experiments, keeping each as soon as it is done."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from experiments.experiment import Experiment, Part, plain
from experiments.provenance import EarlierRun
from experiments.results import FORMAT, VERSION, Record, command, dump, load_committed
from experiments.storage import FinishedParts


def compute(
    experiments: Sequence[Experiment], scale: str, kept: FinishedParts, earlier: EarlierRun
) -> tuple[Record, dict[str, float]]:
    """Compute every part that is not kept already; return the record and the seconds that each part took.

    A kept part is used again if its settings and the code are the same. `earlier` weighs the parts for the
    progress bar; its time is told only if it ran on this machine.
    """
    from tqdm import tqdm

    todo = [(experiment, part) for experiment in experiments for part in experiment.parts(scale)]
    weights = [earlier.seconds.get(f"{experiment.name}/{part.name}", 1.0) for experiment, part in todo]
    record: Record = {"format": FORMAT, "version": VERSION, "scale": scale, "experiments": {}}
    seconds: dict[str, float] = {}
    stale = sum(kept.is_stale(*one) for one in todo)
    print(_plan(len(todo), stale, earlier), flush=True)
    layout = "{percentage:3.0f}% |{bar}| {elapsed} gone, about {remaining} left  {desc}"
    with tqdm(total=sum(weights), bar_format=layout, disable=None, leave=False) as bar:
        for number, ((experiment, part), weight) in enumerate(zip(todo, weights, strict=True), start=1):
            label = f"{experiment.name}/{part.name}"
            bar.set_description_str(label)
            entry, took, how = _entry(experiment, part, scale, kept)
            record["experiments"].setdefault(experiment.name, {})[part.name] = entry
            if took is not None:
                seconds[label] = took
            bar.write(f"[{number}/{len(todo)}] {label}: {how}")
            bar.update(weight)
    return json.loads(dump(record)), seconds


def _entry(
    experiment: Experiment, part: Part, scale: str, kept: FinishedParts
) -> tuple[Record, float | None, str]:
    if part.committed:
        return load_committed(part.committed), None, "committed result, rendered again"
    saved = kept.load(experiment, part)
    if saved:
        how = "kept from the interrupted run"
        result, took = saved["result"], float(saved["seconds"])
    else:
        start = time.perf_counter()
        result = plain(part.run(), f"{experiment.name}/{part.name}")
        took = time.perf_counter() - start
        kept.save(experiment, part, result, took)
        how = f"{took:.1f} s"
    return {"origin": part.origin, "command": command(scale), "result": result}, took, how


def _plan(parts: int, stale: int, earlier: EarlierRun) -> str:
    known = earlier.here and earlier.seconds
    told = f"{parts} parts" + (f", {sum(known.values()):.0f} s the last time" if known else "")
    return told + (f"; {stale} kept of other code or settings, made again" if stale else "")
