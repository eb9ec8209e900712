"""An effect as JSON text, bit for bit, and back with every field checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from commute_verify.criterion import checked
from commute_verify.criterion.answers import Cost
from commute_verify.errors import CommuteError

if TYPE_CHECKING:
    from commute_verify.criterion.effect import OrderEffect

FORMAT, VERSION = "commute_verify.order_effect", 1
ARRAYS = ("P_replicates", "slope_replicates", "rounding")
TEXTS = ("method", "stopped")


def dump(effect: OrderEffect) -> str:
    """The whole effect; floats are written so that they read back bitwise."""
    record = {
        "format": FORMAT,
        "version": VERSION,
        "domains": list(effect.domains),
        "mixing": {name: dict(weights) for name, weights in effect.mixing.items()},
        "cost": asdict(effect.cost),
        "looks": effect.looks,
        "notes": list(effect.notes),
        **{name: getattr(effect, name).tolist() for name in ARRAYS},
        **{name: getattr(effect, name) for name in TEXTS},
    }
    return json.dumps(record, allow_nan=False)


def load(text: str) -> dict[str, Any]:
    """The fields of an effect; CommuteError for anything but what ``dump`` wrote."""
    try:
        record = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise CommuteError(f"not JSON, or cut short ({error}); give what to_json wrote") from error
    if not isinstance(record, dict):
        raise CommuteError(f"no order effect ({checked.a_type(record)}); give what to_json wrote")
    if record.get("format") != FORMAT:
        raise CommuteError(f"format {record.get('format')!r} is no order effect's; give what to_json wrote")
    version = record.get("version")
    if type(version) is not int or version != VERSION:
        raise CommuteError(
            f"an order effect of version {version!r}, and this package reads version {VERSION}; read it with "
            "the release that wrote it"
        )
    expected = {"format", "version", "domains", "mixing", "cost", "looks", "notes", *ARRAYS, *TEXTS}
    if set(record) != expected:
        odd = ", ".join(sorted(set(record) ^ expected))
        raise CommuteError(f"an order effect with fields missing or unknown: {odd}")
    mixing = record["mixing"]
    rows = mixing.values() if isinstance(mixing, dict) else [None]
    if not all(isinstance(row, dict) and all(type(w) in (int, float) for w in row.values()) for row in rows):
        raise CommuteError("mixing is no object of objects of numbers; give what to_json wrote")
    if type(record["looks"]) is not int or not all(type(record[name]) is str for name in TEXTS):
        raise CommuteError("looks, method or stopped of a wrong type; give what to_json wrote")
    return {
        "domains": tuple(_texts(record["domains"], "domains")),
        "mixing": mixing,
        "cost": _cost(record["cost"]),
        "looks": record["looks"],
        "notes": tuple(_texts(record["notes"], "notes")),
        **{name: _array(record[name], name) for name in ARRAYS},
        **{name: record[name] for name in TEXTS},
    }


def _texts(value: object, what: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise CommuteError(f"{what} are {value!r}; a list of texts was expected")
    return value


def _array(value: object, what: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise CommuteError(f"{what} are ragged ({error})") from error
    if array.dtype.kind not in "if":
        raise CommuteError(f"{what} are not numbers")
    return array.astype(np.float64)


def _cost(value: object) -> Cost:
    names = {f.name for f in fields(Cost)}
    later = {f.name for f in fields(Cost) if f.default is not MISSING}
    if not isinstance(value, Mapping) or not names - later <= set(value) <= names:
        raise CommuteError(f"cost is {value!r}; {', '.join(sorted(names))} were expected")
    if not all(type(number) in (int, float) for number in value.values()):
        raise CommuteError(f"cost is {dict(value)}; numbers were expected")
    return Cost(**value)
