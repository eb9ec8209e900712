"""The paper's claims, one theorem a file, each with a verdict that is computed from a derivation.

>>> from proofs import run
>>> run(["eq8"])[0].verdict
'corrected'
"""

from proofs.claim import Claim, Judgement, Result
from proofs.collection import claims, run

__all__ = ["Claim", "Judgement", "Result", "claims", "run"]
