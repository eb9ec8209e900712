"""Who may import whom: read from the source, seen in a fresh interpreter, held by the import contracts."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "commute_verify"
ABOVE = {"experiments", "proofs", "benchmarks", "tests"}
MAY_IMPORT = {
    "errors.py": set(),
    "data": {"commute_verify.data"},
    "symbolic": {"sympy", "commute_verify.symbolic", "commute_verify.errors"},
    "codegen": {"sympy", "commute_verify.codegen", "commute_verify.symbolic", "commute_verify.errors"},
    "kernels/__init__.py": set(),
    "kernels/numpy_kernels.py": {"numpy"},
    "kernels/torch_kernels.py": {"torch"},
    "schedules.py": {"numpy", "commute_verify._schedule_input", "commute_verify.errors"},
    "_schedule_input.py": {"numpy", "commute_verify.errors"},
    "criterion": {
        "numpy",
        "scipy",
        "torch",
        "tqdm",
        "commute_verify.criterion",
        "commute_verify.kernels.numpy_kernels",
        "commute_verify.kernels.torch_kernels",
        "commute_verify.schedules",
        "commute_verify.errors",
    },
    "planning": {
        "numpy",
        "scipy",
        "commute_verify.planning",
        "commute_verify.criterion.effect",
        "commute_verify.criterion.statistics",
        "commute_verify.schedules",
        "commute_verify.errors",
    },
    "mixture": {
        "numpy",
        "torch",
        "commute_verify.mixture",
        "commute_verify.schedules",
        "commute_verify.errors",
    },
    "cli": {
        "numpy",
        "matplotlib",
        "shtab",
        "torch",
        "tqdm",
        "commute_verify",
    },
    "checkpoints": {
        "torch",
        "transformers",
        "commute_verify.checkpoints",
        "commute_verify.criterion",
        "commute_verify.errors",
    },
    "integrations": {
        "torch",
        "lightning",
        "transformers",
        "commute_verify.criterion",
        "commute_verify.integrations",
        "commute_verify.errors",
    },
    "flows": {
        "numpy",
        "scipy",
        "torch",
        "mpmath",
        "commute_verify.flows",
        "commute_verify.schedules",
        "commute_verify.errors",
    },
}


def sources(room):
    path = PACKAGE / room
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def imported(source, package):
    """The modules that a source file imports, lazily or not; ``package`` is where it lives."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def home(path):
    return ".".join(path.relative_to(ROOT).parent.parts)


def strays(source, package, allowed):
    """Imports that are neither the standard library's nor among those allowed."""
    return [
        module
        for module in imported(source, package)
        if module.split(".")[0] not in sys.stdlib_module_names
        and not any(f"{module}.".startswith(f"{name}.") for name in allowed)
    ]


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room):
    found = {path.name: strays(path.read_text(), home(path), MAY_IMPORT[room]) for path in sources(room)}
    assert found
    assert {name: modules for name, modules in found.items() if modules} == {}


def at_import(source):
    """The modules that importing a source file loads by its own lines, those for type checkers left out."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [ast.Pass()]
    return set(imported(ast.unparse(ast.fix_missing_locations(tree)), "commute_verify.criterion"))


def test_training_code_pays_for_scipy_and_the_progress_bar_only_when_it_uses_them():
    for path in sources("criterion"):
        heavy = {
            module for module in at_import(path.read_text()) if module.split(".")[0] in {"scipy", "tqdm"}
        }
        assert heavy == set(), path.name


def test_an_import_that_is_not_lazy_is_seen():
    assert "scipy" in at_import("import scipy")
    assert "scipy.special.stdtr" in at_import("class A:\n    from scipy.special import stdtr")
    assert at_import("def f():\n    import scipy\nclass A:\n    def g(self):\n        import scipy") == set()


def test_help_and_completion_of_the_command_line_load_nothing_heavy():
    heavy = ("torch", "scipy", "sympy", "matplotlib", "transformers")
    assert loaded_by("from commute_verify.cli import parser; parser()", heavy) == set()
    assert "torch" in loaded_by("import commute_verify.cli.verdict", heavy)


def test_importing_the_criterion_loads_nothing_that_torch_does_not_load():
    heavy = ("matplotlib", "transformers", "scipy", "sympy", "tqdm")
    assert loaded_by("import commute_verify.criterion", heavy) <= loaded_by("import torch, numpy", heavy)


def test_the_package_imports_nothing_that_is_built_on_it():
    found = {
        str(path.relative_to(ROOT)): module
        for path in PACKAGE.rglob("*.py")
        for module in imported(path.read_text(), home(path))
        if module.split(".")[0] in ABOVE
    }
    assert found == {}


@pytest.mark.parametrize(
    ("room", "planted"),
    [
        ("symbolic", "import numpy as np"),
        ("symbolic", "from torch import nn"),
        ("symbolic", "def f():\n    import numpy.linalg"),
        ("symbolic", "from commute_verify.codegen import emit"),
        ("symbolic", "from commute_verify import schedules"),
        ("symbolic", "from commute_verify.schedules import WeightSchedule"),
        ("symbolic", "from ..codegen import emit"),
        ("codegen", "import numpy"),
        ("codegen", "from commute_verify.kernels import numpy_kernels"),
        ("kernels/numpy_kernels.py", "import torch"),
        ("kernels/numpy_kernels.py", "import sympy"),
        ("kernels/torch_kernels.py", "import numpy"),
        ("kernels/torch_kernels.py", "from commute_verify.codegen import emit"),
        ("schedules.py", "import torch"),
        ("_schedule_input.py", "from commute_verify.schedules import WeightSchedule"),
        ("flows", "from commute_verify.symbolic.trees import tree"),
        ("flows", "import commute_verify.kernels.numpy_kernels"),
        ("criterion", "import sympy"),
        ("criterion", "def f():\n    import matplotlib.pyplot"),
        ("criterion", "from transformers import Trainer"),
        ("criterion", "from commute_verify.flows import steps"),
        ("criterion", "from commute_verify.report import plot_effect"),
        ("planning", "from commute_verify.flows import affine"),
        ("planning", "def f():\n    import torch"),
        ("checkpoints", "from commute_verify.planning import plan_tilt"),
        ("checkpoints", "from commute_verify.cli import main"),
        ("checkpoints", "from experiments.gpt2 import checkpoint"),
        ("integrations", "from commute_verify.report import plot_effect"),
        ("integrations", "def f():\n    import datasets"),
        ("data", "import experiments"),
    ],
)
def test_a_planted_import_is_seen(room, planted):
    package = home(sources(room)[0])
    assert strays(planted, package, MAY_IMPORT[room])


def test_an_import_inside_its_own_room_and_of_the_standard_library_is_no_stray():
    lines = ("import json", "from fractions import Fraction", "from . import trees", "import sympy.abc")
    assert strays("\n".join(lines), "commute_verify.symbolic", MAY_IMPORT["symbolic"]) == []


def loaded_by(statement, modules):
    report = f"{statement}\nimport sys\nprint(*(m for m in {modules!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True, cwd=ROOT, timeout=120
    )
    return set(done.stdout.split())


HEAVY = ("sympy", "matplotlib", "transformers", "torch", "scipy")


@pytest.mark.parametrize(
    "statement",
    [
        "import commute_verify",
        "from commute_verify import CommuteError, WeightSchedule",
        "import commute_verify.kernels.numpy_kernels",
    ],
)
def test_what_training_code_imports_loads_nothing_heavy(statement):
    assert loaded_by(statement, HEAVY) == set()


def test_the_bare_package_loads_not_even_numpy():
    assert loaded_by("import commute_verify", ("numpy",)) == set()


def test_a_heavy_module_that_is_loaded_is_seen():
    assert loaded_by("import commute_verify.symbolic.trees, commute_verify.symbolic.words", HEAVY) == {
        "sympy"
    }


def contracts(where):
    importlinter = (
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    )
    return subprocess.run(
        [sys.executable, "-c", importlinter], capture_output=True, text=True, cwd=where, timeout=120
    )


@pytest.fixture
def copy_of_the_package(tmp_path):
    pytest.importorskip("importlinter", reason="the contracts need the dev extra")
    shutil.copytree(PACKAGE, tmp_path / "commute_verify", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_contracts_are_kept(copy_of_the_package):
    done = contracts(copy_of_the_package)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("symbolic/words.py", "import numpy"),
        ("symbolic/trees.py", "from commute_verify.codegen import emit"),
        ("kernels/numpy_kernels.py", "import torch"),
        ("kernels/torch_kernels.py", "from commute_verify.errors import CommuteError"),
        ("schedules.py", "import experiments.quadratic"),
        ("flows/affine.py", "from commute_verify.symbolic import trees"),
        ("criterion/effect.py", "import transformers"),
        ("criterion/hessian_products.py", "from commute_verify.flows import steps"),
        ("criterion/hessian_products.py", "from commute_verify.planning import plan_tilt"),
        ("report/figures.py", "from commute_verify.integrations import attached"),
    ],
)
def test_the_import_contracts_reject_a_planted_import(copy_of_the_package, module, planted):
    path = copy_of_the_package / "commute_verify" / module
    path.write_text(f"{path.read_text()}\n{planted}\n")
    done = contracts(copy_of_the_package)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout
