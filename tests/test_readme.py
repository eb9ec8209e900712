"""README and CONTRIBUTING do what they say."""

import re
from pathlib import Path

import pytest

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
