"""The figure of an order effect shows the effect's own numbers, on the side of the domain to train first."""

import statistics
import subprocess
import sys
from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from scipy.stats import t as student

from commute_verify.criterion import Cost, OrderEffect
from commute_verify.report import plot_effect
from commute_verify.report.figures import svg

DOMAINS = ("en", "ru", "code")
MIXING = {"ru": {"ru": 1.0}, "mixture": dict.fromkeys(DOMAINS, 1 / 3)}
REPLICATES = 6
CENTERS = np.array([[2.0, -3.0, 0.1], [-0.2, 4.0, -5.0]])  # pairs (en, ru), (en, code), (ru, code)


def effect_with(centers):
    noise = np.random.default_rng(0).normal(size=(REPLICATES, 2, 3))
    P = np.zeros((REPLICATES, 2, 3, 3))
    for pair, (i, j) in enumerate(combinations(range(3), 2)):
        P[:, :, i, j] = centers[:, pair] + 0.3 * noise[:, :, pair]
        P[:, :, j, i] = -P[:, :, i, j]
    cost = Cost(1, 1, 1, 1, 1.0, 1)
    return OrderEffect(DOMAINS, MIXING, P, np.zeros((REPLICATES, 2, 3)), cost, "double-backward")


def rows(panel):
    """(P, low, high, filled, the domain on the dot's side, the one on the other) from top to bottom."""
    left, right = (
        [text.get_text() for text in axis.get_yticklabels()] for axis in (panel, *panel.child_axes)
    )
    drawn = [c for c in panel.containers if isinstance(c, ErrorbarContainer)]
    for container, *sides in zip(drawn, left, right, strict=True):
        dot, _, (bars,) = container.lines
        (x, _) = dot.get_xydata()[0]
        (low, _), (high, _) = bars.get_segments()[0]
        better, worse = reversed(sides) if x > 0 else sides
        yield x, low, high, dot.get_markerfacecolor() != "none", better, worse


def check(figure, effect, alpha=0.05):
    """Every dot, interval, mark and label against the replicates, without the package's statistics."""
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [f"{name} loss" for name in effect.targets]
    for t, panel in enumerate(panels):
        zero = [line for line in panel.lines if list(line.get_xdata()) == [0.0, 0.0]]
        assert len(zero) == 1
        for (i, j), row in zip(combinations(range(3), 2), rows(panel), strict=True):
            sample = effect.P_replicates[:, t, i, j].tolist()
            mean = statistics.fmean(sample)
            half = student.ppf(1 - alpha / 2, REPLICATES - 1) * statistics.stdev(sample) / REPLICATES**0.5
            roundoff = 64 * np.finfo(float).eps * (abs(mean) + half)  # C·eps·κ: sums of six, one quantile
            assert max(abs(row[0] - mean), abs(row[1] - mean + half), abs(row[2] - mean - half)) <= roundoff
            first, later = (j, i) if mean > 0 else (i, j)
            assert row[4:] == (f"{DOMAINS[first]} first", f"{DOMAINS[later]} first")
            assert (
                row[3] == effect.prefer_first(DOMAINS[i], DOMAINS[j], effect.targets[t], alpha=alpha).resolved
            )


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_dots_intervals_marks_and_labels_are_those_of_the_effect(alpha):
    effect = effect_with(CENTERS)
    check(plot_effect(effect, alpha=alpha), effect, alpha)


def test_resolved_and_unresolved_pairs_both_occur_in_the_example():
    marks = [
        row[3] for panel in plot_effect(effect_with(CENTERS)).axes if panel.get_title() for row in rows(panel)
    ]
    assert marks == [True, True, False, False, True, True]


@pytest.mark.parametrize("pair", range(3))
def test_one_wrong_sign_would_be_noticed(pair):
    planted = CENTERS.copy()
    planted[1, pair] *= -1
    with pytest.raises(AssertionError):
        check(plot_effect(effect_with(planted)), effect_with(CENTERS))


@pytest.mark.parametrize(
    "planted",
    [
        lambda stderr, replicates, alpha: 1.96 * stderr,
        lambda stderr, replicates, alpha: stderr,
        lambda stderr, replicates, alpha: stderr * student.ppf(1 - alpha, replicates - 1),
        lambda stderr, replicates, alpha: stderr * student.ppf(1 - alpha / 2, replicates),
    ],
    ids=["normal quantile", "standard error", "one-sided quantile", "one degree of freedom more"],
)
def test_a_wrong_width_would_be_noticed(planted, monkeypatch):
    monkeypatch.setattr("commute_verify.criterion.statistics.half_width", planted)
    with pytest.raises(AssertionError):
        check(plot_effect(effect_with(CENTERS)), effect_with(CENTERS))


def test_swapped_labels_would_be_noticed():
    effect = effect_with(CENTERS)
    figure = plot_effect(effect)
    panel = figure.axes[0]
    left, right = (
        [text.get_text() for text in axis.get_yticklabels()] for axis in (panel, *panel.child_axes)
    )
    panel.set_yticks(range(3), right)
    panel.child_axes[0].set_yticks(range(3), left)
    with pytest.raises(AssertionError):
        check(figure, effect)


def test_a_wrong_mark_would_be_noticed():
    effect = effect_with(CENTERS)
    figure = plot_effect(effect)
    figure.axes[0].containers[0].lines[0].set_markerfacecolor("none")
    with pytest.raises(AssertionError):
        check(figure, effect)


def test_the_figure_goes_into_a_report_the_same_each_time():
    first, second = (svg(plot_effect(effect_with(CENTERS)), "effect") for _ in range(2))
    assert first == second
    assert first.startswith("<svg")


def test_importing_the_report_loads_neither_matplotlib_nor_torch():
    code = "import sys, commute_verify.report; sys.exit(bool({'matplotlib', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


LONG = (
    "a multilingual web crawl, deduplicated, of pages with recipes",
    "github-code-python-permissive-2023-deduplicated",
    "books_and_encyclopedias_of_the_nineteenth_century",
)


def renamed(effect, names):
    mixing = {"mixture": dict.fromkeys(names, 1 / 3), "last": {names[2]: 1.0}}
    P, slopes = effect.P_replicates, effect.slope_replicates
    return OrderEffect(names, mixing, P, slopes, effect.cost, effect.method)


def drawn(names):
    """The figure after its layout, the share of its width that each panel has, and the labels' boxes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = plot_effect(renamed(effect_with(CENTERS), names))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    panels = [axes for axes in figure.axes if axes.get_title()]
    labels = [
        [text.get_window_extent(canvas.get_renderer()) for text in axis.get_yticklabels()]
        for panel in panels
        for axis in (panel, *panel.child_axes)
    ]
    return figure, [panel.get_position().width for panel in panels], labels


def test_long_names_leave_the_plot_its_width_and_are_all_there():
    figure, widths, labels = drawn(LONG)
    assert min(widths) >= 0.4
    for column in labels:
        for upper, lower in pairwise(column):
            assert lower.y1 <= upper.y0  # they do not overlap
    texts = {
        "".join(text.get_text().split())
        for panel in figure.axes
        if panel.get_title()
        for axis in (panel, *panel.child_axes)
        for text in axis.get_yticklabels()
    }
    assert texts == {"".join(f"{name} first".split()) for name in LONG}


def test_short_names_are_not_wrapped():
    figure, widths, _ = drawn(DOMAINS)
    assert min(widths) >= 0.6
    assert not any("\n" in text.get_text() for axes in figure.axes for text in axes.get_yticklabels())
