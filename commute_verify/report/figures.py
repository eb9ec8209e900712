"""Matplotlib figures as SVG that is the same byte for byte and sits well inside a page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN = "#0072b2", "#e69f00", "#009e73"
VERMILION, PURPLE, GREY = "#d55e00", "#aa4499", "#767676"
"""Six colours told apart by colour-blind readers, legible on white and on black (Okabe and Ito, 2008)."""

INK, PAPER, RULE = "#1c2024", "#ffffff", "#d8dde3"
"""Text, background and grid."""

_VARIABLES = {
    "ink": INK,
    "paper": PAPER,
    "rule": RULE,
    "blue": BLUE,
    "orange": ORANGE,
    "green": GREEN,
    "vermilion": VERMILION,
    "purple": PURPLE,
    "grey": GREY,
}

_STYLE: Any = {
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "normal",
    "axes.prop_cycle": f"cycler('color', {[BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY]!r})",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


@contextmanager
def style() -> Iterator[None]:
    """Hold Matplotlib to the report's style; create, draw and render a figure inside it.

    ``with style(): figure = Figure(figsize=(6.4, 3.6)); axes = figure.subplots(); …; svg(figure, "name")``
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def svg(figure: Figure, name: str) -> str:
    """Render a Matplotlib figure as one ``<svg>`` element: no date, no random ids.

    Every id starts with `name`, so that several figures live on one page. The colours named above become
    CSS variables with themselves as fall-back (``var(--ink, …)``), so that a dark page recolours them.
    """
    import matplotlib

    buffer = io.StringIO()
    with style(), matplotlib.rc_context({"svg.hashsalt": name}):
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.S)
    text = text.replace("<svg ", '<svg stroke-linejoin="round" ', 1)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(\bhref="#|url\(#)', rf"\g<1>{name}-", text)
    for variable, colour in _VARIABLES.items():
        text = text.replace(f": {colour}", f": var(--{variable}, {colour})")
    return text + "\n"
