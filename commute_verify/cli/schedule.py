"""A schedule in words: what it trains, when, and which domain runs ahead of which.

example:
  commute-verify schedule schedule.json --svg schedule.svg
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

from commute_verify.cli import DONE, files
from commute_verify.cli.printing import show
from commute_verify.cli.schedule_file import ScheduleFile, read

HELP = "totals, areas and a picture of a schedule"
WIDTH = 40
SHADES = "█▓▒░▞▚▤▥"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="from commute-verify plan")
    parser.add_argument("--svg", type=Path, metavar="OUT", help="draw it, too (needs matplotlib)")


def run(options: argparse.Namespace) -> int:
    """Print the schedule."""
    file = read(options.file)
    show("\n".join(lines(file)))
    if options.svg:
        from commute_verify.report.schedule_figure import plot_schedule

        files.write(options.svg, plot_schedule(file.schedule, file.unit))
        if not options.quiet:
            show(f"{options.svg} is written")
    return DONE


def lines(file: ScheduleFile) -> list[str]:
    """Totals, a bar for each stage, and the area of each pair in words."""
    held = file.schedule
    length = held.duration
    keys = dict(zip(held.domains, (SHADES[k % len(SHADES)] for k in range(len(held.domains))), strict=True))
    said = [
        f"{amount(length)} {file.unit} in {len(held.durations)} stage{'s' * (len(held.durations) > 1)}",
        "",
    ]
    width = max(map(len, held.domains))
    for name, total in held.totals().items():
        said.append(f"  {keys[name]} {name:<{width}}  {amount(total):>16} {file.unit}  {total / length:7.2%}")
    said.append("")
    start = 0.0
    for duration, weights in file.stages(file.unit):
        shares = ", ".join(f"{name} {w:.4g}" for name, w in weights.items())
        said.append(f"  from {amount(start):>16}  {_bar(weights, keys)}  {shares}")
        start += duration
    area = held.levy_area()
    said.append("")
    for i, j in combinations(range(len(held.domains)), 2):
        one, other = held.domains[i], held.domains[j]
        size = float(area[i, j])
        if abs(size) <= 1e-12 * length**2:
            said.append(f"  {one} and {other}: neither runs ahead")
        else:
            first, later = (one, other) if size > 0 else (other, one)
            said.append(f"  {first} runs ahead of {later}: Lévy area {abs(size):.4g} {file.unit}²")
    return said


def amount(number: float) -> str:
    """A number of tokens or steps, with all digits of its whole part.

    >>> amount(1114112.0), amount(0.25)
    ('1,114,112', '0.25')
    """
    return f"{number:,.0f}" if number >= 1000 else f"{number:.6g}"


def _bar(weights: dict[str, float], keys: dict[str, str]) -> str:
    ends, total = [], 0.0
    for weight in weights.values():
        total += weight
        ends.append(round(total * WIDTH))
    starts = [0, *ends[:-1]]
    return "".join(keys[name] * (b - a) for name, a, b in zip(weights, starts, ends, strict=True))
