"""Tilts by the trajectory at Gauss points, from batches that no run has seen.

``parts`` gives the report its parts; ``python -m experiments.integrated_tilts`` runs the committed study.
"""

from experiments.integrated_tilts.parts import parts
from experiments.integrated_tilts.settings import Settings

__all__ = ["Settings", "parts"]
