"""What a claim is: a printed formula held as data, and a judge that derives the truth and compares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from commute_verify.errors import CommuteError

Verdict = Literal["holds", "corrected", "false", "undetermined"]
Printed = TypeVar("Printed")


@dataclass(frozen=True)
class Judgement:
    """A verdict with its reason.

    ``correction`` is what should stand there, or what the counterexample teaches; ``reading`` is the one
    reading of the paper's conventions that the verdict needs, if others would turn it.
    """

    verdict: Verdict
    reason: str
    correction: str | None = None
    reading: str | None = None


@dataclass(frozen=True)
class Claim(Generic[Printed]):
    """One statement of the paper (or an extension of it).

    ``judge`` takes the printed formula or figures as data and derives the verdict; nothing else decides it.
    ``planted`` is a neighbour of the printed data with one sign, factor or order changed, which must not
    pass. ``right`` is the data as they should be, which must hold; without it the printed data are right,
    or nothing can be.
    """

    id: str
    source: str
    statement: str
    latex: str
    printed: Printed
    planted: Printed
    judge: Callable[[Printed], Judgement]
    right: Printed | None = None

    def run(self) -> Result:
        """Judge the printed data, and check that the derivation closes."""
        try:
            return self._judged()
        except CommuteError:  # bad input, such as a broken benchmark file, is no defect of the derivation
            raise
        except (ArithmeticError, ValueError) as error:
            broken = Judgement("undetermined", f"the derivation breaks off: {error}")
            return Result(self, broken, (broken.reason,))

    def _judged(self) -> Result:
        found = self.judge(self.printed)
        neighbour = self.judge(self.planted)
        defects = []
        if found.verdict in ("corrected", "false") and not found.correction:
            defects.append(f"the verdict is {found.verdict} without a correction or a counterexample")
        if found.verdict == "corrected" and self.right is None:
            defects.append("the verdict is corrected, but the corrected data are not given")
        if self.right is not None and self.judge(self.right).verdict != "holds":
            defects.append("the corrected data are not judged to hold")
        if neighbour.verdict == "holds" or neighbour == found:
            defects.append(f"the planted neighbour passes as {neighbour.verdict}")
        return Result(self, found, tuple(defects))


@dataclass(frozen=True)
class Result:
    """A claim with its judgement; ``defects`` is empty if the derivation closes."""

    claim: Claim[Any]
    judgement: Judgement
    defects: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """holds, corrected, false or undetermined."""
        return self.judgement.verdict

    def as_dict(self) -> dict[str, str | None]:
        """The row for ``--json`` and for the report."""
        reading = f" [{self.judgement.reading} only]" if self.judgement.reading else ""
        return {
            "id": self.claim.id,
            "source": self.claim.source,
            "statement": self.claim.statement + reading,
            "verdict": self.judgement.verdict,
            "correction": self.judgement.correction,
            "reason": self.judgement.reason,
            "latex": self.claim.latex,
        }
