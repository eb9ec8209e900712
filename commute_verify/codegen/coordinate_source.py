"""The module that computes gradients, Hessian-vector products, brackets and P of SymPy losses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import sympy as sp

from commute_verify.codegen.backends import Backend
from commute_verify.codegen.coordinate_trees import CoordinateTrees, Vector
from commute_verify.codegen.emit import WIDTH
from commute_verify.codegen.scalars import ScalarPrinter
from commute_verify.symbolic.trees import TARGET, criterion, gradient, lie_bracket

_HEAD = '''\
"""Emitted by commute_verify.codegen.coordinate_functions: losses by number, points (..., {n}) of floats."""

{header}
from commute_verify.errors import CommuteError


def _coordinates(*points: {array}) -> list[{array}]:
    for point in points:
        if not ({is_floating} and point.shape[-1:] == ({n},)):
            raise CommuteError(f"the point {{point!r}}: give {title} floats of shape (..., {n})")
    return {split}


def _vector(*components: {array}) -> {array}:
    return {stack}
'''


class CoordinateModule:
    """Source for losses 0 … K − 1, and for a target if there is one, over the same variables."""

    def __init__(
        self,
        losses: Sequence[sp.Expr],
        variables: Sequence[sp.Symbol],
        target: sp.Expr | None,
        backend: Backend,
    ) -> None:
        """Loss k is colour k + 1 of the trees."""
        self.domains = range(1, len(losses) + 1)
        self.has_target, self.backend = target is not None, backend
        colored = dict(zip(self.domains, losses, strict=True))
        self.trees = CoordinateTrees(colored if target is None else colored | {TARGET: target}, variables)
        self.direction = tuple(sp.Dummy() for _ in variables)
        self.identifiers = {
            "theta": {x: f"x{i}" for i, x in enumerate(variables)},
            "v": {v: f"v{i}" for i, v in enumerate(self.direction)},
        }

    def source(self) -> str:
        """The whole module."""
        functions = [_HEAD.format(n=len(self.direction), **vars(self.backend))]
        for k in self.domains:
            slope = self.trees.vector(gradient(k))
            turned = tuple(self.trees.along(component, self.direction) for component in slope)
            functions.append(self._function(f"gradient_{k - 1}", slope, "theta"))
            functions.append(self._function(f"hvp_{k - 1}", turned, "theta", "v"))
        for i, j in combinations_with_replacement(self.domains, 2):
            bracket = self.trees.vector(lie_bracket(gradient(i), gradient(j)))
            functions.append(self._function(f"bracket_{i - 1}_{j - 1}", bracket, "theta"))
            if self.has_target:
                value = self.trees.scalar(criterion(i, j))
                functions.append(self._function(f"criterion_{i - 1}_{j - 1}", value, "theta"))
        return "\n\n".join(functions)

    def _function(self, name: str, value: Vector | sp.Expr, *points: str) -> str:
        names = {symbol: text for point in points for symbol, text in self.identifiers[point].items()}
        coordinates = ", ".join(names.values()) + "," * (len(names) == 1)
        shared, results = sp.cse(
            value if isinstance(value, tuple) else [value], symbols=sp.numbered_symbols(cls=sp.Dummy)
        )
        names |= {symbol: f"t{i}" for i, (symbol, _) in enumerate(shared)}
        printer = ScalarPrinter(names, self.backend)
        texts = [self._of_full_shape(e, printer) for e in results]
        array = self.backend.array
        lines = [
            f"def {name}({', '.join(f'{point}: {array}' for point in points)}) -> {array}:",
            f"    {coordinates} = _coordinates({', '.join(points)})",
            *(f"    {names[symbol]} = {printer(e)}" for symbol, e in shared),
            f"    return {_call('_vector', texts) if isinstance(value, tuple) else texts[0]}",
        ]
        return "\n".join(lines) + "\n"

    def _of_full_shape(self, e: sp.Expr, printer: ScalarPrinter) -> str:
        text = printer(e)
        return text if e.free_symbols else f"{self.backend.function('full_like')}(x0, {text})"


def _call(function: str, arguments: Sequence[str]) -> str:
    line = f"{function}({', '.join(arguments)})"
    if len(line) + len("    return ") <= WIDTH:
        return line
    return "\n".join([f"{function}(", *(f"        {argument}," for argument in arguments), "    )"])
