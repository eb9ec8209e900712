"""Pages in docs/ do what they say: examples run, print what is shown, quotations are what was computed."""

import contextlib
import io
import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
EXAMPLE = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", flags=re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
CHOOSING = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")


def run(page):
    """What each example of a page prints, beside what the page shows; one namespace, from top to bottom."""
    namespace = {}
    for source, shown in EXAMPLE.findall(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, "docs", "exec"), namespace)
        yield printed.getvalue(), shown


def agree(printed, shown):
    """Same words, and numbers within two units of the last place shown (roundoff, of printing too)."""
    if NUMBER.sub("#", printed).split() != NUMBER.sub("#", shown).split():
        return False
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True)
    return all(
        abs(Decimal(one) - Decimal(other)) <= 2 * Decimal(1).scaleb(Decimal(other).as_tuple().exponent)
        if "." in other or "e" in other
        else one == other
        for one, other in pairs
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::lightning")  # its own
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_runs_and_prints_what_is_shown(page):
    for printed, shown in run(page.read_text(encoding="utf-8")):
        assert agree(printed, shown), f"printed:\n{printed}\nshown:\n{shown}"


def test_a_wrong_figure_sign_or_word_would_be_noticed():
    printed = "double-backward -2.75 ± 0.31\nresolved after 4 looks (p = 1.2e-05)\n"
    assert agree(printed, printed.replace("-2.75", "-2.76"))
    for planted in (
        ("-2.75", "-2.85"),
        ("-2.75", "2.75"),
        ("4 looks", "5 looks"),
        ("e-05", "e-04"),
        ("re", "unre"),
    ):
        assert not agree(printed, printed.replace(*planted, 1))


def test_output_without_its_example_would_be_noticed():
    page = "```python\nprint(1.5)\n```\n\n```text\n1.5\n```\n"
    assert [agree(*pair) for pair in run(page)] == [True]
    assert [agree(*pair) for pair in run(page.replace("\n```text\n1.5\n```\n", ""))] == [False]
    assert CHOOSING.count("```text") == sum(bool(shown) for _, shown in EXAMPLE.findall(CHOOSING))


def test_the_quoted_verdict_is_the_one_that_its_command_prints():
    command = [sys.executable, "-m", "proofs", "--json", "cor3.2b-horizon"]
    answer = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    quoted = " ".join(line.removeprefix("> ") for line in CHOOSING.splitlines() if line.startswith("> "))
    assert quoted == answer["claims"][0]["reason"]
    assert " ".join(command[1:]) in " ".join(CHOOSING.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_a_page_exist(page):
    linked = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [path for path in linked if not (page.parent / path).exists()] == []
