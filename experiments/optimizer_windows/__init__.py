"""Windows of AdamW on minibatches: real runs beside every predictor, a map of validity, and what it costs.

``parts`` gives the report its parts; ``python -m experiments.optimizer_windows`` runs the committed study.
"""

from experiments.optimizer_windows.parts import parts
from experiments.optimizer_windows.settings import Settings

__all__ = ["Settings", "parts"]
