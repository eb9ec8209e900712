"""``python -m experiments``: derive, measure and write the report.

Each part is kept under OUT/.work as soon as it is done; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from commute_verify.errors import CommuteError
from experiments import (
    claims,
    claims_page,
    kernels,
    noise,
    optimizer_windows,
    planning,
    quadratic,
    transformer_flow,
)
from experiments.beyond_local import page as beyond_local_page
from experiments.beyond_local.parts import parts as beyond_local_parts
from experiments.experiment import SCALES, Experiment, each
from experiments.gpt2 import page as gpt2_page
from experiments.gpt2.parts import parts as gpt2_parts
from experiments.integrated_tilts import page as integrated_tilts_page
from experiments.integrated_tilts.parts import parts as integrated_tilts_parts
from experiments.noise import page as noise_page
from experiments.optimizer_windows import page as optimizer_windows_page
from experiments.page import render, render_again
from experiments.planned_training import page as planned_training_page
from experiments.planned_training.parts import parts as planned_training_parts
from experiments.planning import page as planning_page
from experiments.provenance import earlier_run, provenance
from experiments.quadratic import page as quadratic_page
from experiments.results import dump
from experiments.runner import compute
from experiments.storage import FinishedParts, publish
from experiments.transformer_flow import page as transformer_flow_page

EXPERIMENTS = (
    Experiment(
        "proofs",
        claims.parts,
        claims_page.blocks,
        claims_page.sentence,
        claims_page.glance,
        code=("proofs", "benchmarks"),
    ),
    Experiment(
        "quadratic",
        each(quadratic.PARTS, quadratic.Settings),
        quadratic_page.blocks,
        quadratic_page.sentence,
        quadratic_page.glance,
        code=("experiments/quadratic",),
    ),
    Experiment(
        "transformer_flow",
        each(transformer_flow.PARTS, transformer_flow.Settings),
        transformer_flow_page.blocks,
        transformer_flow_page.sentence,
        transformer_flow_page.glance,
        code=("experiments/transformer_flow", "experiments/quadratic"),
    ),
    Experiment(
        "beyond_local",
        beyond_local_parts,
        beyond_local_page.blocks,
        beyond_local_page.sentence,
        code=("experiments/beyond_local", "experiments/transformer_flow", "experiments/quadratic"),
    ),
    Experiment(
        "gpt2",
        gpt2_parts,
        gpt2_page.blocks,
        gpt2_page.sentence,
        gpt2_page.glance,
        code=("experiments/gpt2", "experiments/quadratic"),
    ),
    Experiment(
        "planning",
        each(planning.PARTS, planning.Settings),
        planning_page.blocks,
        planning_page.sentence,
        code=("experiments/planning", "experiments/quadratic"),
    ),
    Experiment(
        "optimizer_windows",
        optimizer_windows.parts,
        optimizer_windows_page.blocks,
        optimizer_windows_page.sentence,
        code=("experiments/optimizer_windows", "experiments/gpt2", "experiments/quadratic"),
    ),
    Experiment(
        "integrated_tilts",
        integrated_tilts_parts,
        integrated_tilts_page.blocks,
        integrated_tilts_page.sentence,
        code=(
            "experiments/integrated_tilts",
            "experiments/optimizer_windows",
            "experiments/gpt2",
            "experiments/quadratic",
        ),
    ),
    Experiment(
        "planned_training",
        planned_training_parts,
        planned_training_page.blocks,
        planned_training_page.sentence,
        code=(
            "experiments/planned_training",
            "experiments/planning",
            "experiments/optimizer_windows",
            "experiments/gpt2",
            "experiments/quadratic",
        ),
    ),
    Experiment(
        "noise",
        each(noise.PARTS, noise.Settings),
        noise_page.blocks,
        noise_page.sentence,
        code=("experiments/noise", "experiments/quadratic"),
    ),
    Experiment("kernels", kernels.parts, kernels.blocks, code=("experiments/kernels.py",)),
)


def main(argv: Sequence[str], experiments: Sequence[Experiment] = EXPERIMENTS) -> int:
    """Run the command; return 0, 2 after bad input, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("--scale", choices=SCALES, default="default", help="smoke: small and quick")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="folder of the report")
    parser.add_argument(
        "--render-only", action="store_true", help="write the pages again from OUT/results.json"
    )
    options = parser.parse_args(argv)
    try:
        _need("matplotlib", "latex2mathml", "threadpoolctl", "tqdm", "transformers")
        if options.render_only:
            publish(options.out, render_again(options.out / "results.json", experiments))
        else:
            _run(experiments, options.scale, options.out, argv)
    except CommuteError as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished parts are kept: give the same command to go on", file=sys.stderr)
        return 130
    print(f"{options.out / 'index.html'} is written")
    return 0


def _run(experiments: Sequence[Experiment], scale: str, out: Path, argv: Sequence[str]) -> None:
    kept = FinishedParts(out)
    earlier = earlier_run(out / "provenance.json", scale)
    record, seconds = compute(experiments, scale, kept, earlier)
    files = {
        "results.json": dump(record),
        "provenance.json": provenance(experiments, scale, argv, seconds),
        **render(record, experiments),
    }
    publish(out, files)
    kept.clear()


def _need(*packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise CommuteError(f"{', '.join(missing)} not installed: pip install 'commute_verify[report]'")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
