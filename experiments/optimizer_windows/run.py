"""From pieces to results."""
from typing import Any
from experiments.optimizer_windows.settings import Settings
def collected(settings: Settings, found: dict[str, Any]) -> dict[str, Any]:
    return {"pieces": len(found)}
