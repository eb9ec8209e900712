"""What an SVG element may hold so that it can stand inside a page: no scripts, nothing fetched."""

from __future__ import annotations

from xml.etree import ElementTree

from commute_verify.errors import CommuteError

_ACTIVE = {"script", "foreignObject", "iframe", "a", "style", "animate", "set"}


def check(svg: str, name: str) -> None:
    """Raise CommuteError, naming figure `name`, when `svg` is not one well-formed, passive SVG element."""
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise CommuteError(f"figure {name!r} is not well-formed SVG ({error}): render it again") from error
    if _local(root.tag) != "svg":
        raise CommuteError(f"figure {name!r} is a <{_local(root.tag)}> element, expected <svg>")
    for element in root.iter():
        if _local(element.tag) in _ACTIVE:
            raise CommuteError(
                f"figure {name!r} holds a <{_local(element.tag)}>: only passive drawings are shown"
            )
        for key, value in element.attrib.items():
            if _local(key).startswith("on"):
                raise CommuteError(f"figure {name!r} holds an event handler {_local(key)!r}: remove it")
            if _local(key) in ("href", "src") and not value.startswith(("#", "data:image/png;base64,")):
                raise CommuteError(f"figure {name!r} links to {value!r}: only links within it are allowed")
            if value.replace(" ", "").count("url(") != value.replace(" ", "").count("url(#"):
                raise CommuteError(f"figure {name!r} loads {value!r}: only url(#…) within it is allowed")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
