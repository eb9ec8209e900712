"""README and CONTRIBUTING do what they say."""

import json
import re
from pathlib import Path

import pytest

from experiments.beyond_local.parts import COMMITTED as BEYOND
from experiments.beyond_local.tables import find, within_a_tenth
from experiments.gpt2.comparison.compare import compare
from experiments.gpt2.parts import parts as language_parts
from experiments.gpt2.predictors import table as predictors
from experiments.integrated_tilts.parts import COMMITTED as TILTS
from experiments.integrated_tilts.parts import SIZES
from experiments.integrated_tilts.statistics import of_every_size
from experiments.optimizer_windows.parts import COMMITTED as WINDOWS
from experiments.planned_training.parts import COMMITTED as PLANS
from experiments.results import load_committed

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def command(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```bash\n(.*?)```", README, flags=re.DOTALL)
    assert found, f"README marks no command as {name}"
    return found[1]


@pytest.mark.parametrize("source", EXAMPLES)
def test_every_python_example_runs(source):
    exec(compile(source, "README.md", "exec"), {})


@pytest.mark.parametrize(("name", "runs"), [("main", "-m experiments"), ("tests", "-m pytest")])
def test_both_commands_set_everything_up_with_the_tested_versions(name, runs):
    assert "python3 -m venv" in command(name)
    assert "-c constraints.txt" in command(name)
    assert runs in command(name)


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_links_and_named_files_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    linked = [path for path in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in path]
    quoted = re.findall(r"`((?:commute_verify|proofs|experiments|tests|benchmarks)/[\w./]*)`", text)
    named = [path for path in linked + quoted if "NN_" not in path and "NAME" not in path]
    missing = [path for path in named if not (ROOT / path.rstrip("/")).exists()]
    assert missing == []


def test_a_broken_example_would_be_noticed():
    sound = next(example for example in EXAMPLES if "sign * delta * epsilon**2" in example)
    broken = sound.replace("sign * delta * epsilon**2", "sign * delta * epsilon**2 / 2")
    with pytest.raises(AssertionError):
        exec(compile(broken, "README.md", "exec"), {})


def quoted(figures):
    text = " ".join(README.split())
    return [figure for figure in figures if figure not in text]


def row(where, by, told, size=None):
    """A row of the table of predictions, of a predictor's summary."""
    right, answers = told["right"], told["answered_right"]
    size = size or f"{told['ratio']['median']:.2f}"
    found = f"| {where} | {by} | {right['count']} of {told['judged']} | {size} | "
    return f"{found}{told['answered_of_all']} of {told['cases']} | {answers['count']} of {told['answered']} |"


def test_what_is_said_of_windows_of_adamw_is_what_was_computed():
    result = load_committed(WINDOWS)["result"]
    told = result["strictness"][0]["predictors"]
    one = told["trajectory"]
    asked = "trajectory, integrated"
    swaps = result["swaps"][0]["predictors"][asked]
    cells = [(c["key"][0], c["predictors"].get(asked)) for c in result["swaps_by_length"]]
    lengths = [(k, cell) for k, cell in cells if cell]
    reach = max(k for k, cell in lengths if cell["answered_of_all"])
    beyond = {k: round(cell["ratio"]["median"]) for k, cell in lengths if k > reach}
    silent = min(beyond)
    figures = [
        row("(d) AdamW, tilts by 0.15", "one sweep for all", one),
        row("(d) AdamW, whole swaps", "three points", swaps, "see (d)"),
        *(
            f"{by} | {told[name]['right']['count']} of {told[name]['judged']} |"
            for by, name in (
                ("the criterion", "local"),
                ("the criterion with Adam's D", "local, preconditioned"),
            )
        ),
        f"answers {one['answered'] / one['judged']:.0%} of those that can be told from luck",
        f"No swap is answered from {silent} steps a stage on, where three points see a quarter of the "
        "effect, then a sixth",
    ]
    assert quoted(figures) == []
    assert quoted(["203 of 216"]) == ["203 of 216"]  # planted: another figure
    windows = [cell["predictors"]["trajectory"] for cell in result["tilts_by_length"]]
    many = [abs(cell["ratio"]["median"] - 1) for cell in windows if cell["judged"] >= 9]
    assert len(many) == 10
    assert 0.3 < max(many) < 1 / 3  # "up to a third ... nine or more"
    assert max(cell["key"][0] for cell in result["tilts_by_length"]) == 100
    page = " ".join((ROOT / "docs" / "predicting.md").read_text().split())
    count = f"{swaps['answered_of_all']} of {swaps['cases']}"
    right = f"{swaps['answered_right']['count']} of the {swaps['answered']}"
    words = f"answer {count} of them, none from {silent} steps a stage on, and are right in {right} answers"
    assert words in page
    assert list(beyond.values()) == [4, 6]  # "a quarter of the effect, then a sixth"


def test_what_is_said_of_frozen_curvature_is_what_was_computed():
    result = load_committed(BEYOND)["result"]
    later = result["later"]
    last = result["reaches"][-1]
    frozen = [find(told, reach, "frozen-curvature") for told in (result, later) for reach in told["reaches"]]
    start = [find(result, reach, "frozen at the start") for reach in result["reaches"]]
    right, answered, count = (sum(cell[key] for cell in frozen) for key in ("right", "answered", "count"))
    wrong = next(cell["reach"] for cell in start if cell["right"] < cell["count"])
    price = find(result, last, "frozen-curvature")["training_steps"]
    error = max(cell["median_error"] for cell in frozen)
    figures = [
        f"| frozen curvature | {right} of {count} | within {error:.0%} | "
        f"{answered} of {count} | {answered} of {answered} |",
        f"up to Δt·λ_max = {last:g}, and trained five times longer, up to {later['reaches'][-1]:g}",
        f"At {last:g} the criterion is off by a factor of "
        f"{1 + find(result, last, 'local')['median_error']:.0f}",
        f"start alone are within 10% up to {within_a_tenth(result, 'frozen at the start'):g} and have wrong "
        f"signs from {wrong:g} on",
        f"η·λ_max below {4 * last / price:.1g} at {last:g}",
    ]
    assert quoted(figures) == []
    page = (ROOT / "docs" / "predicting.md").read_text(encoding="utf-8")
    assert f"these had wrong signs from Δt·λ_max = {wrong:g} on" in page
    assert later["steps"] == 5 * result["steps"]  # "five times longer"
    assert all(cell["answered"] == cell["answered_right"] for cell in frozen)
    assert quoted(["have wrong signs from 4 on"]) == ["have wrong signs from 4 on"]  # planted


def test_what_is_said_of_tilts_at_gauss_points_is_what_was_computed():
    result = load_committed(TILTS)["result"]
    told = result["all"]["predictors"]["trajectory"]
    ratios = [cell["predictors"]["trajectory"]["ratio"]["median"] for cell in result["lengths"]]
    size = f"{min(ratios):.2f} to {max(ratios):.2f}"
    assert quoted([row("(b) AdamW, tilts by 0.15", "three to five points", told, size)]) == []
    first, second = (half for half in result["halves"] if half["k"] == 20)
    words = [f"{half['right']} of {half['resolved']}{{}} and {half['ratio']:.2f}" for half in (first, second)]
    assert first["seeds"] == second["seeds"] == 8
    told = f"the first eight seeds had {words[0].format(' signs')}, the next eight {words[1].format('')}"
    assert quoted([told]) == []
    right, judged = (sum(cell[key] for cell in result["alone"]) for key in ("right", "judged"))
    assert quoted([f"{right / judged:.0%} of the signs ({right} of {judged} answers, the tilts of b)"]) == []


def test_what_is_said_of_tilts_of_every_size_is_what_was_computed():
    others = load_committed(SIZES)["result"]["sizes"]
    whole = of_every_size([load_committed(TILTS)["result"], *others])
    small, _, large = (group["predictors"]["trajectory"] for group in whole["sizes"])
    told = whole["all"]["predictors"]["trajectory"]
    large_rows = [row for row in others[1]["rows"] if row["k"] >= 10]
    share = told["answered_of_all"] / told["cases"]
    right = f"{told['answered_right']['count']} of the {told['answered']}"
    figures = [
        row("(c) tilts by 0.05", "two points", small),
        row("(c) tilts by 0.3", "three to five points", large),
        f"only {sum(row['answered'] for row in large_rows)} of {len(large_rows)} are answered from 10 steps",
        f"Of all {told['cases']} tilts, (b) among them, {told['answered_of_all']} ({share:.0%}) are answered",
        f"{right} answers that can be checked are right",
    ]
    assert quoted(figures) == []
    assert {count["points"] for count in others[0]["settings"]["counts"]} == {2}  # "two points"
    page = " ".join((ROOT / "docs" / "predicting.md").read_text().split())
    assert f"they answered {told['answered_of_all']} of {told['cases']}, and {right} that" in page
    assert quoted([f"{told['answered_of_all'] + 1} (63%) are answered"]) != []  # planted


def test_the_table_of_products_has_every_way_that_was_measured():
    rows = json.loads((ROOT / "benchmarks/results/hvp.json").read_text(encoding="utf-8"))["rows"]
    told = {
        "finite-difference": "finite-difference (also yields the gradient)",
        "paper, reverse over reverse": "reverse over reverse, as in the paper",
    }
    measured = [
        f"| {told.get(way['method'], way['method'])} "
        f"| {way['hvp_over_gradient_time']:.1f} | {way['memory_over_training_step']:.1f} |"
        for way in rows
        if way["size"] == "124M"
    ]
    table = re.search(r"\| \| time, in gradients \|.*\n\|---.*\n((?:\|.*\n)*)", README)
    assert sorted(table.group(1).splitlines()) == sorted(measured)


def test_what_is_said_of_the_cost_of_predictions_was_measured():
    found = json.loads((ROOT / "benchmarks" / "results" / "prediction.json").read_text())
    (told,) = (one for one in found["prediction"] if one["size"] == "1M")
    figures = [
        f"takes {told['one target, training steps per step']:.1f} training steps",
        f"{told['further target, training steps per step']:.1f} for a further one",
        f"{told['memory beyond states, in steps']:.1f} steps' memory",
        f"both ends, takes {told['three points and both ends, training steps per step']:.1f};",
        f"at most {told['frozen curvature']['most']} products",
    ]
    assert quoted(figures) == []
    result = load_committed(TILTS)["result"]
    steps = {row["k"]: row["training_steps"] for row in result["rows"]}
    dear = [steps[c["k"]] / (8 * c["k"] * c["predicted"]) for c in result["settings"]["counts"]]
    page = (ROOT / "docs" / "predicting.md").read_text()
    assert f"{min(dear):.0f} to {max(dear):.0f} times" in " ".join(page.split())


def test_what_is_said_of_predictors_on_two_languages_is_what_was_computed():
    committed = {part.name: part.committed for part in language_parts("smoke") if part.committed}
    study, said = (load_committed(committed[name])["result"] for name in ("cpu", "cpu-predictors"))
    found = predictors.cells(compare(study), said)
    one, drawn, weighted = (
        {window: [cell for cell in found[name] if cell.window == window] for window in (5, 20, 60)}
        for name in ("trajectory", "drawn", "integrated")
    )

    def right(cells):
        return sum(cell.right for cell in cells)

    def of(cells):
        return f"{right(cells)} of {len(cells)}"

    answered, losses = ([cell for cell in found[name] if cell.answered] for name in ("drawn", "integrated"))
    far = [cell for cell in answered if cell.window == 60]
    resolved = [cell for cell in drawn[60] if cell.resolved]
    told = [cell for cell in answered if cell.resolved]
    assert not weighted[60]
    size = predictors._ratio(found["drawn"]).split(chr(0xA0))[0]
    checked = [cell for cell in losses if cell.resolved]
    known = [cell for cell in found["drawn"] if cell.resolved]
    figures = [
        f"| three points, batches drawn | {of(known)} | {size} | {len(answered)} of {len(found['drawn'])} "
        f"| {of(told)} |",
        f"{of(drawn[5])} signs are right at Δt = 5, {of(drawn[20])} at 20 and {of(drawn[60])} at 60, "
        f"and {right(answered)} of the {len(answered)} answers",
        f"three points have {of(weighted[5])} signs at 5 but {of(weighted[20])} at 20",
        f"and {of(losses)} answers are right, {right(checked)} of the {len(checked)} that can be checked",
        f"has {of(one[5])} at 5 and {of(one[20] + one[60])} beyond",
    ]
    assert quoted(figures) == []
    page = " ".join((ROOT / "docs" / "predicting.md").read_text().split())
    assert (
        f"of {of(drawn[5])} cases at Δt = 5, of {of(drawn[20])} at Δt = 20 and of {of(drawn[60])} at Δt = 60 "
        f"so, and of {of(weighted[5])} and of {of(weighted[20])} at 5 and 20 with weighted losses" in page
    )
    assert f"At 60 they answer {len(far)} of the {len(drawn[60])}" in page
    assert f"the signs of {right(resolved)} of the {len(resolved)} that are resolved" in page
    assert f"of {of(one[5])} cases at Δt = 5 and of {of(one[20] + one[60])} beyond" in page


def test_what_is_said_of_plans_is_what_was_computed():
    cells = load_committed(PLANS)["result"]["cells"]
    (descent,) = (cell["excess"] for cell in cells if cell["by"] == "descent")
    assert quoted([f"(by {-1e3 * descent['mean']:.2f} ± {1e3 * descent['half']:.2f} thousandths"]) == []
