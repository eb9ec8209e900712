"""The docstring of a kernel: its equation and shapes from the derivation, the rest from the catalogue."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from commute_verify.codegen.backends import Backend
from commute_verify.codegen.catalogue import Kernel
from commute_verify.codegen.formulas import Part
from commute_verify.codegen.primitives import NAMES, Primitive
from commute_verify.codegen.terms import Signed, Sum, signed, spelled

_LEAVES = {"g": "∇L_i", "u": "∇L, the gradient of the target"}
_HARD_SPACE = "\N{NO-BREAK SPACE}"
_WIDTH = 102


def docstring(kernel: Kernel, sums: Sequence[Sum], arguments: Sequence[Primitive], backend: Backend) -> str:
    """The text between triple quotes, not indented."""
    shapes = [
        *(_signature_shape(s.part) for s in sums if s.part.signature),
        *(_primitive_shape(primitive) for primitive in arguments),
        f"Returns {kernel.result}.",
    ]
    blocks = [
        kernel.summary,
        "\n".join(_equation(kernel, sums)),
        "\n".join(line for shape in shapes for line in _wrapped(shape)),
        "\n".join(line for note in kernel.notes for line in _wrapped(note)),
        kernel.example.replace("{array}", backend.literal),
    ]
    return '"""' + "\n\n".join(blocks) + '\n"""'


def _equation(kernel: Kernel, sums: Sequence[Sum]) -> Iterator[str]:
    """A line for each depth, folded between its terms."""
    first, *rest = spelled([_sum_text(s) for s in sums], minus="−")
    remainder = [f"+ {kernel.remainder}"] if kernel.remainder else []
    yield from _wrapped(f"{kernel.left} = {first}", "    ")
    for text in rest + remainder:
        yield from _wrapped(text, "        ")


def _sum_text(s: Sum) -> Signed:
    """A common sign is drawn out; a line may end between terms, not within one."""
    common = -1 if all(c < 0 for c, _ in s.terms) else 1
    terms = spelled([signed(common * c, contraction.text(), " ") for c, contraction in s.terms], minus="−")
    text = " ".join(term.replace(" ", _HARD_SPACE) for term in terms)
    if s.part.signature:
        letters = "".join(NAMES[k - 1] for k in s.part.letters)
        total = f"Σ_{letters} {s.part.signature}[{', '.join(letters)}] ".replace(" ", _HARD_SPACE)
        text = total + (text if len(terms) == 1 else f"({text})")
    return common < 0, text


def _signature_shape(part: Part) -> str:
    letters = ", ".join(NAMES[k - 1] for k in part.letters)
    axes = ", ".join(["...", *("K" for _ in part.letters)])
    order = "" if len(part.letters) == 1 else ", earliest letter first"
    return f"{part.signature} ({axes}): S[{letters}] of the schedule less that of the reference{order}."


def _primitive_shape(primitive: Primitive) -> str:
    index = ", ".join(NAMES[k - 1] for k in primitive.indices)
    axes = ", ".join(["...", *("K" for _ in primitive.indices), "n"])
    entry = f"{primitive.name}[{index}] = " if index else ""
    meaning = _LEAVES.get(primitive.name, primitive.text(primitive.indices))
    return f"{primitive.name} ({axes}): {entry}{meaning}."


def _wrapped(text: str, indent: str = "") -> Iterator[str]:
    for line in textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent + "    "):
        yield line.replace(_HARD_SPACE, " ")
