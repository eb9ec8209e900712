"""Smaller and larger tilts, piece by piece; ``python -m experiments.integrated_tilts.sizes`` runs them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.experiment import Part
from experiments.integrated_tilts.run import parts_of
from experiments.integrated_tilts.settings import Settings
from experiments.integrated_tilts.statistics import summed_up

SIZES = Settings.other_sizes()


def parts() -> list[Part]:
    """One for each piece of each size."""
    return [
        replace(part, name=f"{_prefix(settings)}{part.name}")
        for settings in SIZES
        for part in parts_of(settings)
    ]


def together(found: Mapping[str, Any]) -> dict[str, Any]:
    """Tilts of AdamW windows by 0.05 and by 0.3, as those by 0.15 are taken."""
    return {"sizes": [_summed_up(settings, found) for settings in SIZES]}


def every_size() -> dict[str, Any]:
    """All pieces, and what they say together."""
    return together({part.name: part.run() for part in parts()})


def _summed_up(settings: Settings, found: Mapping[str, Any]) -> dict[str, Any]:
    prefix = _prefix(settings)
    own = {key.removeprefix(prefix): piece for key, piece in found.items() if key.startswith(prefix)}
    return summed_up(settings, own)


def _prefix(settings: Settings) -> str:
    return f"{settings.delta:g}-"
