"""What commands ask in common: checkpoints, domains, targets and weights, read from their words."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path

from commute_verify.errors import CommuteError

NAME = re.compile(r"\w[\w.-]*")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Domains, what is asked of them, and how they are read."""
    parser.add_argument(
        "--domain",
        action="append",
        required=True,
        metavar="NAME=FILE",
        help="text of a domain, at least two: UTF-8 text (documents between form feeds, or else blank lines) "
        "or "
        '.jsonl with a field "text"; either may be .gz',
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="NAME=DOMAIN:WEIGHT,…",
        help="a loss to lower, as weights over domains that sum to 1; default: every domain, and their "
        "mixture",
    )
    parser.add_argument(
        "--weights", metavar="DOMAIN=WEIGHT,…", help="the run's own weights; default: alike, pair by pair"
    )
    parser.add_argument(
        "--context", type=whole, metavar="TOKENS", help="window length (default: 256 at most)"
    )
    parser.add_argument("--batch-size", type=whole, default=8, metavar="WINDOWS", help="default: 8")
    parser.add_argument("--batches", type=whole, metavar="N", help="batches of each domain (default: 100)")
    parser.add_argument(
        "--until-resolved",
        action="store_true",
        help="draw batches until every sign is resolved; needs --budget",
    )
    parser.add_argument("--budget", metavar="AMOUNT", help="the most to spend: 90s, 10m, or gradient passes")
    parser.add_argument(
        "--read", type=whole, default=16, metavar="MB", help="text read of each domain (default: 16)"
    )
    parser.add_argument(
        "--plain", action="store_true", help="leave Adam's state aside: the bracket of plain gradient descent"
    )
    parser.add_argument(
        "--method",
        default="auto",
        choices=("auto", "finite-difference", "double-backward", "forward-over-reverse"),
        help="how Hessian-vector products are taken (default: the fastest that is right)",
    )
    parser.add_argument(
        "--tokenizer", metavar="FOLDER", help='another tokenizer: a folder, a hub name, "bytes"'
    )
    parser.add_argument(
        "--config", metavar="FOLDER", help="architecture of a torch DCP folder: a config.json"
    )
    parser.add_argument(
        "--device", metavar="NAME", help="such as cpu or cuda (default: cuda where there is one)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def whole(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; give a whole number of at least 1")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}; give a number above 0")
    return number


def domain_paths(given: Sequence[str]) -> dict[str, Path]:
    """``["en=en.txt", "ru=ru.jsonl"]`` -> files by name.

    Raises CommuteError for fewer than two, a name given twice or not of letters, digits, ".", "-" and "_".
    """
    found: dict[str, Path] = {}
    for argument in given:
        name, equals, where = argument.partition("=")
        if not equals or not where or not NAME.fullmatch(name):
            raise CommuteError(
                f"--domain {argument!r}; give NAME=FILE, NAME of letters, digits, '.', '-', '_'"
            )
        if name in found:
            raise CommuteError(f"--domain names {name!r} twice; give each domain once")
        found[name] = Path(where)
    if len(found) < 2:
        raise CommuteError(f"{len(found)} domain; an order needs at least two --domain NAME=FILE")
    return found


def targets(given: Sequence[str] | None) -> dict[str, dict[str, float]] | None:
    """``["mix=en:0.5,ru:0.5"]`` -> weights by target; a domain's name alone is its own loss."""
    if given is None:
        return None
    found: dict[str, dict[str, float]] = {}
    for argument in given:
        name, equals, weights = argument.partition("=")
        if not NAME.fullmatch(name) or name in found:
            raise CommuteError(f"--target {argument!r}; give each target once, as NAME=DOMAIN:WEIGHT,…")
        found[name] = numbers(weights, f"--target {argument!r}") if equals else {name: 1.0}
    return found


def numbers(text: str, what: str) -> dict[str, float]:
    """``en=0.9,ru=0.1``, or with colons, as a mapping; what the numbers may be is checked by who asks.

    >>> numbers("en=90e6,ru:10e6", "--totals")
    {'en': 90000000.0, 'ru': 10000000.0}
    """
    found: dict[str, float] = {}
    for pair in text.split(","):
        name, _, number = pair.strip().replace(":", "=").rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (name and math.isfinite(value)):
            raise CommuteError(f"{what}: {pair.strip()!r}; give NAME=NUMBER, finite, with commas between")
        if name in found:
            raise CommuteError(f"{what} names {name} twice; give each name once")
        found[name] = value
    return found
