"""Planned schedules beside every simple rule, on small GPT-2 models under AdamW.

``parts`` gives the report its parts; ``python -m experiments.planned_training`` runs the committed study.
"""

from experiments.planned_training.parts import parts
from experiments.planned_training.settings import Settings

__all__ = ["Settings", "parts"]
