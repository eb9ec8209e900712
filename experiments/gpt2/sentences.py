"""What the comparison says in sentences; every number and every word that depends on one is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from scipy.special import stdtr

from experiments.gpt2.agreement_tables import reaches
from experiments.gpt2.comparison import Comparison
from experiments.gpt2.comparison.agreement import agreement
from experiments.gpt2.comparison.breakdown import FACTOR, Reach
from experiments.gpt2.comparison.cases import select
from experiments.gpt2.comparison.excess import KINDS, RESOLVED
from experiments.gpt2.comparison.guess import both_lower, judge
from experiments.gpt2.comparison.predictions import PREDICTORS
from experiments.gpt2.comparison.results import BRACKETS
from experiments.gpt2.comparison.series import all_helped
from experiments.gpt2.comparison.words import counted, listed, rough, share_text, weights_text
from experiments.gpt2.tables import longest_steps


def about(comparison: Comparison) -> str:
    """The model, the data and the branches."""
    results = comparison.results
    data = "; ".join(
        f"{name}: {results.data[name]['train_tokens']:,} training tokens of "
        f"{results.bytes_per_token[name]:.2f} bytes"
        for name in results.domains
    )
    branches = [branch for run in results.runs for branch in run.branches]
    there = len(branches)
    planned = "" if results.planned in (None, there) else f" of {results.planned} planned"
    weights = listed([weights_text(list(run.weights.values())) for run in results.runs])
    steps = listed(sorted({point.step for run in results.runs for point in run.checkpoints}))
    windows = listed(sorted({branch.window for branch in branches}))
    seeds = len({branch.seed for branch in branches})
    tail = max((branch.tail_steps for branch in branches), default=0)
    return (
        f"{results.parameters:,} parameters; {data}. Base runs with the weights {weights}; checkpoints at "
        f"{steps}; Δt of {windows} steps, a common tail of {tail} steps, up to {counted(seeds, 'seed')}: "
        f"{there} branches{planned}. Every branch has the tokens and the flow time of its base, language by "
        f"language.{_left_out(comparison)} {_cost(comparison)}{_errors(comparison)}"
    )


def _left_out(comparison: Comparison) -> str:
    count = sum(run.left_out for run in comparison.results.runs)
    if not count:
        return ""
    return (
        f" Not so {counted(count, 'branch', 'branches')} that lack their base, the opposite order or the "
        "criterion so far: they are not checked, and left out of everything below."
    )


def _cost(comparison: Comparison) -> str:
    costs = {
        (effect.cost.gradient_passes, effect.cost.hvp_passes, effect.cost.evaluations)
        for run in comparison.results.runs
        for point in run.checkpoints
        for effect in point.effects.values()
    }
    if not costs:
        return ""
    gradients, products, evaluations = max(costs)
    return (
        f"A bracket at a checkpoint takes {counted(gradients, 'gradient')} and "
        f"{counted(products, 'product')} with a Hessian of one batch, {evaluations:,} calls of the loss in "
        "all. "
    )


def _errors(comparison: Comparison) -> str:
    basis = Counter(case.observed.basis for case in comparison.cases)
    seeds = max((len(case.observed.values) for case in comparison.cases), default=0)
    chance = 2 * float(stdtr(seeds - 1, -RESOLVED)) if basis["seeds"] else None
    passed = (
        f" Two standard errors over {counted(seeds, 'seed')} are passed by chance alone in {chance:.0%} of "
        "cases."
        if chance is not None
        else ""
    )
    if not basis:
        return "Nothing can be compared yet."
    return (
        f"Of {basis.total()} differences of losses {basis['seeds']} have a standard error over their own "
        f"seeds, {basis['pooled']} one pooled from other cells, and {basis['none']} none; these count as not "
        f"resolved.{passed} Seeds vary nothing but the data after a checkpoint of one run: no standard error "
        "covers another initialisation, another run, or other validation windows, which all share. A "
        "pooled error assumes one spread for all checkpoints, orders and tilts of a run at a Δt."
    )


def headline(comparison: Comparison) -> str:
    """Signs of both brackets and of the simplest rule, after the window."""
    here = select(comparison.cases, kind="orders", tail=False, targets=comparison.results.domains)
    shares = {by: agreement(here, by).all for by in (*BRACKETS, "last")}
    if not here:
        return "no two orders can be compared yet"
    texts = {by: share_text(found) for by, found in shares.items()}
    return (
        f"the plain bracket has {texts['plain']} of the signs, the one preconditioned by Adam's state "
        f"{texts['adam']}, and the rule “the language trained last wins”, which computes nothing, "
        f"{texts['last']} (the 95% intervals are too narrow: cases are not independent)"
    )


def breakdown(comparison: Comparison, *, tail: bool) -> str:
    """Where local prediction stops working, by the rule of ``comparison.breakdown``."""
    found = reaches(comparison, tail=tail)
    when = "After the common tail" if tail else "Right after the window"
    parts = [_reach(f"the {PREDICTORS[by]}", found[by], sized=True) for by in BRACKETS]
    return f"{when}: {'; '.join([*parts, _reach('“last wins”', found['last'], sized=False)])}."


def _reach(name: str, found: Reach, *, sized: bool) -> str:
    numbers = {window: each.all.total for window, each in found.windows}

    def at(windows: Sequence[int]) -> str:
        return f"at Δt = {listed([f'{window} (n = {numbers[window]})' for window in windows])}"

    kinds = (
        ("better than chance", found.better),
        ("not told from chance", found.undecided),
        ("worse than chance", found.against),
    )
    signs = listed([f"{what} {at(windows)}" for what, windows in kinds if windows])
    if not sized:
        return f"{name} has signs {signs}"
    right = f"up to Δt = {found.sizes}" if found.sizes else "not even at the shortest Δt"
    return f"{name} has signs {signs}, and the right size {right}"


RULE = (
    "Signs are better (worse) than chance where the 95% interval of their share lies above (below) one half; "
    "the intervals count dependent cases as independent and are too narrow, so that “better than chance” is "
    "weaker than it reads, and “not told from chance” is no evidence that there is nothing. The size is "
    f"right up to a Δt if there, and at all shorter ones, the median of observed over predicted is within a "
    f"factor of {FACTOR:g} of 1. Order against order, the two languages, all Δw and checkpoints; n cases."
)


def curvature(comparison: Comparison) -> str:
    """Which windows lie in the local regime at all; empty where the curvature was not measured."""
    found = longest_steps(comparison)
    windows = sorted({case.at.window for case in comparison.cases})
    if not found or not windows:
        return ""
    texts = []
    for by, largest in found.items():
        inside = [window for window in windows if window * largest < 1]
        reach = (
            f"Δt = {listed(inside)} of the study {'lies' if len(inside) == 1 else 'lie'}"
            if inside
            else "no Δt of the study lies"
        )
        beyond = (
            f" (a single step is {rough(largest)} already, beyond the 2 at which plain steps leave the flow)"
            if largest > 2
            else ""
        )
        texts.append(f"{reach} in the local regime of the {PREDICTORS[by]}{beyond}")
    optimizer = comparison.results.settings.get("training", {}).get("optimizer", "")
    steps = (
        " The runs step with AdamW, along the preconditioned gradient, so that it is the Adam bracket's "
        "figure that tells how far a window goes."
        if optimizer == "adamw"
        else ""
    )
    return (
        r"A local expansion asks for $\gamma \Delta t\, \lambda_{\max}$ well below 1 (the next table). Taken "
        f"at its largest over the checkpoints: {'; '.join(texts)}.{steps} {_bound(comparison)}"
    ).strip()


def _bound(comparison: Comparison) -> str:
    """How well the curvature is known."""
    points = [point for run in comparison.results.runs for point in run.checkpoints]
    known = [
        point.curvature_error[by] / point.curvature[by] for point in points for by in point.curvature_error
    ]
    if not known:
        return (
            r"λ_max is from a few power iterations on one batch, from below and without an error of its own."
        )
    return f"λ_max is of one batch, an eigenvalue within {max(known):.0%} of the figure used."


def guess(comparison: Comparison) -> str:
    """The verdicts on the untested guess."""
    texts = []
    for bracket in BRACKETS:
        found = judge(comparison.candidates, bracket, False)
        after = judge(comparison.candidates, bracket, True)
        texts.append(
            f"By the {PREDICTORS[bracket]} {found.reason}: {found.verdict} (after the tail: {after.verdict})."
        )
    tilts = len([case for case in comparison.cases if case.at.kind != KINDS[2] and not case.at.tail])
    if not tilts:
        return " ".join([*texts, "No tilt can be compared yet."])
    lower = both_lower(comparison.results, comparison.cases, False)
    at = sorted({(each.run, each.step) for each in lower})
    runs = comparison.results.runs
    places = listed([f"t = {step} of {weights_text(list(runs[run].weights.values()))}" for run, step in at])
    texts.append(
        f"Whatever was predicted, {len(lower)} of "
        f"{counted(tilts // len(comparison.results.targets), 'tilt')} ended lower on both languages, "
        f"resolved{f' ({places})' if at else ''}."
    )
    return " ".join(texts)


def series(comparison: Comparison) -> str:
    """How often following corollary 3.2(b) helped, and where the weights were farthest from optimal."""
    texts = []
    for bracket in BRACKETS:
        mine = [move for move in comparison.moves if move.bracket == bracket]
        checked = sum(len(run.checkpoints) for run in comparison.results.runs)
        places = {(move.run, move.step) for move in mine}
        if not mine:
            texts.append(f"The {PREDICTORS[bracket]} finds no resolved violation.")
            continue
        farthest = max(
            mine,
            key=lambda move: move.value * comparison.results.runs[move.run].checkpoint(move.step).lr ** 2,
        )
        weights = weights_text(list(comparison.results.runs[farthest.run].weights.values()))
        if not all_helped(mine, bracket, tail=False).total:
            texts.append(
                f"The {PREDICTORS[bracket]} finds violations at {len(places)} of {checked} checkpoints."
            )
            continue
        resolved = all_helped(mine, bracket, tail=False, resolved=True)
        clear = f"of the resolved ones {share_text(resolved)}" if resolved.total else "none of them resolved"
        texts.append(
            f"The {PREDICTORS[bracket]} finds the constant weights not optimal at {len(places)} of {checked} "
            f"checkpoints, farthest at t = {farthest.step} of {weights}; of the tilts that it advises "
            f"{share_text(all_helped(mine, bracket, tail=False))} ended below the base, {clear}, and "
            f"{share_text(all_helped(mine, bracket, tail=False, opposite=True))} below the opposite order."
        )
    return " ".join(texts)


def verdicts(comparison: Comparison) -> str:
    """How many findings have which verdict."""
    counts = Counter(finding.judged.verdict for finding in comparison.findings)
    texts = [f"{count} {'is' if count == 1 else 'are'} {verdict}" for verdict, count in counts.items()]
    return f"of the paper's {len(comparison.findings)} findings {listed(texts)}"
