"""What the comparison says in sentences; every number and every word that depends on one is computed."""

from __future__ import annotations

from collections import Counter

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
from experiments.gpt2.comparison.words import listed, share_text, weights_text


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
    seeds = 1 + max((branch.seed for branch in branches), default=0)
    tail = max((branch.tail_steps for branch in branches), default=0)
    return (
        f"{results.parameters:,} parameters; {data}. Base runs with the weights {weights}; checkpoints at "
        f"{steps}; Δt of {windows} steps, a common tail of {tail} steps, up to {seeds} seeds: {there} "
        f"branches{planned}. Every branch has the tokens and the flow time of its base, language by "
        f"language. {_errors(comparison)}"
    )


def _errors(comparison: Comparison) -> str:
    basis = Counter(case.observed.basis for case in comparison.cases)
    seeds = max((len(case.observed.values) for case in comparison.cases), default=0)
    chance = 2 * float(stdtr(seeds - 1, -RESOLVED)) if basis["seeds"] else None
    passed = (
        f" Two standard errors over {seeds} seeds are passed by chance alone in {chance:.0%} of cases."
        if chance is not None
        else ""
    )
    return (
        f"Of {basis.total()} differences of losses {basis['seeds']} have a standard error over their own "
        f"seeds, {basis['pooled']} one pooled from other cells, and {basis['none']} none; these count as not "
        f"resolved.{passed}"
    )


def headline(comparison: Comparison) -> str:
    """Signs of both brackets and of the simplest rule, after the window."""
    here = select(comparison.cases, kind="orders", tail=False, targets=comparison.results.domains)
    texts = {by: share_text(agreement(here, by).all) for by in (*BRACKETS, "last")}
    return (
        f"the plain bracket has {texts['plain']} of the signs, the one preconditioned by Adam's state "
        f"{texts['adam']}, and the rule “the language trained last wins” {texts['last']}"
    )


def breakdown(comparison: Comparison, *, tail: bool) -> str:
    """Where local prediction stops working, by the rule of ``comparison.breakdown``."""
    found = reaches(comparison, tail=tail)
    when = "After the common tail" if tail else "Right after the window"
    parts = [_reach(PREDICTORS[by], found[by]) for by in BRACKETS]
    last = found["last"].signs
    rule = f"up to Δt = {last}" if last else "at no Δt"
    return f"{when}: {'; '.join(parts)}. “Last wins” has better signs than chance {rule}."


def _reach(name: str, found: Reach) -> str:
    signs = f"up to Δt = {found.signs}" if found.signs else "at no Δt from the shortest on"
    sizes = f"up to Δt = {found.sizes}" if found.sizes else "at no Δt from the shortest on"
    against = f", and worse than chance at Δt = {listed(found.against)}" if found.against else ""
    return f"the {name} has signs better than chance {signs}{against}, and the right size {sizes}"


RULE = (
    "A prediction works at a Δt if it does at all shorter ones too and there the lower end of the 95% "
    "interval of its share of right signs is above one half (signs), or the median of observed over "
    f"predicted is within a factor of {FACTOR:g} of 1 (size). Order against order, the two languages, all Δw "
    f"and checkpoints."
)


def curvature(comparison: Comparison) -> str:
    """How long the windows are in units of the curvature; empty where it was not measured."""
    points = [(run, point) for run in comparison.results.runs for point in run.checkpoints]
    windows = sorted({case.at.window for case in comparison.cases})
    texts = []
    for by in BRACKETS:
        known = [point.lr * point.curvature[by] for _, point in points if by in point.curvature]
        if known and windows:
            low, high = windows[0] * min(known), windows[-1] * max(known)
            texts.append(f"from {low:.2g} to {high:.2g} for the {PREDICTORS[by]}")
    if not texts:
        return ""
    return (
        r"The length of a window in units of the curvature, $\gamma \Delta t\, \lambda_{\max}$, runs "
        f"{' and '.join(texts)}; a local expansion asks for well below 1."
    )


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
    lower = both_lower(comparison.results, comparison.cases, False)
    at = sorted({(each.run, each.step) for each in lower})
    runs = comparison.results.runs
    places = listed([f"t = {step} of {weights_text(list(runs[run].weights.values()))}" for run, step in at])
    texts.append(
        f"Whatever was predicted, {len(lower)} of {tilts // len(comparison.results.targets)} tilts ended "
        f"lower on both languages, resolved{f' ({places})' if at else ''}."
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
        texts.append(
            f"The {PREDICTORS[bracket]} finds the constant weights not optimal at {len(places)} of {checked} "
            f"checkpoints, farthest at t = {farthest.step} of {weights}; of the tilts that it advises "
            f"{share_text(all_helped(mine, bracket, tail=False))} ended below the base, of "
            f"the resolved ones {share_text(all_helped(mine, bracket, tail=False, resolved=True))}, and "
            f"{share_text(all_helped(mine, bracket, tail=False, opposite=True))} below the opposite order."
        )
    return " ".join(texts)


def verdicts(comparison: Comparison) -> str:
    """How many findings have which verdict."""
    counts = Counter(finding.judged.verdict for finding in comparison.findings)
    texts = [f"{count} {verdict}" for verdict, count in counts.items()]
    return f"of the paper's {len(comparison.findings)} findings, {listed(texts)}"
