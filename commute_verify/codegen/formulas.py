r"""What the kernels compute, as sums over trees that the engine derives for generic domains i, j, k.

A difference of two schedules acts through the differences dₙ of their signatures alone,

    L(θ_w) − L(θ_ref) = Σₙ Σ_{k₁…kₙ} dₙ[k₁, …, kₙ] (V_{k₁} … V_{kₙ} L)(θ₀),     V_k = −⟨g_k, ∇⟩,

and the same for each coordinate of θ in place of L. The operator of a word is the same sum over trees for
equal letters as for distinct ones, so one word of distinct letters 1 … n stands for all.
"""

from __future__ import annotations

from dataclasses import dataclass

from commute_verify.symbolic.expansions import word_operator
from commute_verify.symbolic.iterated import Word
from commute_verify.symbolic.schedules import check_order
from commute_verify.symbolic.trees import TARGET, Series, combine, criterion, gradient, lie_bracket, tree


@dataclass(frozen=True)
class Part:
    """Σ_letters signature[letters] · series; with no letters, the series itself."""

    letters: Word
    series: Series

    @property
    def signature(self) -> str | None:
        """The argument that holds the difference of signatures at this depth."""
        return f"d{len(self.letters)}" if self.letters else None


@dataclass(frozen=True)
class Formula:
    """A sum of parts; ``free`` are the letters that stay as axes of the result."""

    parts: tuple[Part, ...]
    free: Word = ()


def bracket() -> Formula:
    """R(L_i, L_j) = [g_i, g_j].

    >>> {str(t): c for t, c in bracket().parts[0].series.items()}
    {'2[1]': 1, '1[2]': -1}
    """
    return Formula((Part((), lie_bracket(gradient(1), gradient(2))),))


def criterion_of_pairs() -> Formula:
    """P(L_i, L_j; L) for all i and j."""
    return Formula((Part((), criterion(1, 2)),), free=(1, 2))


def excess_loss(order: int) -> Formula:
    """The excess of a target, with every order up to this one."""
    return Formula(tuple(Part(word, word_operator(word, tree(TARGET))) for word in _words(order)))


def excess_parameters(order: int) -> Formula:
    """The excess of θ: the last letter turns each coordinate into −g, the others act on it.

    >>> [{str(t): c for t, c in part.series.items()} for part in excess_parameters(2).parts]
    [{'1': -1}, {'2[1]': 1}]
    """
    return Formula(
        tuple(Part(word, combine((-1, word_operator(word[:-1], tree(word[-1]))))) for word in _words(order))
    )


def _words(order: int) -> list[Word]:
    return [tuple(range(1, n + 1)) for n in range(1, check_order(order) + 1)]
