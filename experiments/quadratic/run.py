"""The parts of the quadratic experiment, each a pure function of the settings."""

from collections.abc import Callable
from typing import Any

from experiments.one_core import on_one_core
from experiments.quadratic.figure1 import figure1
from experiments.quadratic.figure2 import figure2
from experiments.quadratic.many_domains import many_domains
from experiments.quadratic.settings import Settings
from experiments.quadratic.table1 import table1_fixed, table1_fresh

PartFunction = Callable[[Settings], dict[str, Any]]


PARTS: dict[str, PartFunction] = {
    part.__name__: on_one_core(part) for part in (figure1, figure2, table1_fresh, table1_fixed, many_domains)
}


def run(settings: Settings) -> dict[str, Any]:
    """Results of every part under its name, ready for JSON; the same settings give the same numbers."""
    return {name: part(settings) for name, part in PARTS.items()}
