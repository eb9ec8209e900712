"""Derived formulas printed as source: ``kernels`` for any losses, coordinate functions for SymPy losses.

``python -m commute_verify.codegen`` writes the kernels; ``--check`` says whether they are current.
"""

from commute_verify.codegen.coordinates import CoordinateFunctions, coordinate_functions

__all__ = ["CoordinateFunctions", "coordinate_functions"]
