"""LaTeX formulas as MathML that browsers draw without fonts, scripts or network."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import cache
from xml.etree import ElementTree

from commute_verify.errors import CommuteError

_ARITY = {"msubsup": 3, "munderover": 3} | dict.fromkeys(
    ("mfrac", "msub", "msup", "mover", "munder", "mroot"), 2
)
# fmt: off
_TAGS = {
    "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mstyle", "msqrt", "mtable", "mtr", "mtd", "mpadded",
    "mphantom", *_ARITY,
}
_ATTRIBUTES = {
    "display", "displaystyle", "scriptlevel", "stretchy", "fence", "form", "minsize", "maxsize", "width",
    "height", "depth", "lspace", "rspace", "linebreak", "linethickness", "mathvariant", "columnalign",
    "rowspacing", "columnspacing", "movablelimits", "accent", "largeop", "separator",
}
# fmt: on


@cache
def mathml(latex: str, *, display: bool = False) -> str:
    r"""Convert LaTeX (without dollars) to one ``<math>`` element; `display` sets it as a block.

    Raises CommuteError naming the formula when `latex2mathml` cannot draw it: an unknown command, a
    missing argument, a stray brace, markup or a link.

    >>> mathml(r"H_2")
    '<math><mrow><msub><mi>H</mi><mn>2</mn></msub></mrow></math>'
    """
    from latex2mathml.converter import convert

    try:
        drawn = convert(_dialect(latex), display="block" if display else "inline")
        root = ElementTree.fromstring(re.sub(r" xmlns=\"[^\"]*\"", "", drawn, count=1))
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise CommuteError(f"cannot read the formula {latex!r} ({reason}): correct its LaTeX") from error
    for element in root.iter():
        _check(element, latex)
        _spell_variant(element)
    root.attrib.clear()
    if display:
        root.set("display", "block")
    return ElementTree.tostring(root, encoding="unicode")


def _dialect(latex: str) -> str:
    r"""Rewrite what latex2mathml does not know: upright \mathrm, \arg, aligned, and markup in \text."""
    latex = re.sub(r"\\arg(?![A-Za-z])", r"\\operatorname{arg}", latex)
    latex = re.sub(r"\\mathrm\s*\{([A-Za-z0-9 .,-]+)\}", r"\\text{\1}", latex)
    latex = re.sub(r"\\(begin|end)\{aligned\}", r"\\\1{align*}", latex)
    return re.sub(
        r"\\text\s*\{([^{}]*)\}", lambda m: rf"\text{{{html.escape(m[1].replace(chr(92), ''))}}}", latex
    )


def _check(element: ElementTree.Element, latex: str) -> None:
    tag, text = element.tag, element.text or ""
    if tag not in _TAGS or not _ATTRIBUTES.issuperset(element.attrib):
        raise CommuteError(f"the formula {latex!r} holds markup ({tag} {sorted(element.attrib)}): remove it")
    if len(element) != _ARITY.get(tag, len(element)):
        raise CommuteError(f"the formula {latex!r} is incomplete: a {tag} lacks an argument")
    if tag == "mi" and ("\\" in text or text.strip() in ("{", "}")):
        raise CommuteError(f"the formula {latex!r} holds {text!r}, which is not known LaTeX: correct it")


def _spell_variant(element: ElementTree.Element) -> None:
    """Write double-struck, bold and fraktur as characters of their own: browsers ignore `mathvariant`."""
    variant = element.attrib.pop("mathvariant", "normal")
    if variant != "normal":
        element.text = "".join(_variant(letter, variant.upper()) for letter in element.text or "")


def _variant(letter: str, style: str) -> str:
    name = unicodedata.name(letter).replace("LATIN ", "").replace("GREEK ", "").replace("LETTER ", "")
    for prefix in (f"MATHEMATICAL {style.replace('-', ' ')}", style, "BLACK-LETTER"):
        try:
            return unicodedata.lookup(f"{prefix.replace('DOUBLE STRUCK', 'DOUBLE-STRUCK')} {name}")
        except KeyError:
            continue
    return letter
