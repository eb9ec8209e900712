"""The emitter: what it derives, prints, refuses, and how it knows that committed files are stale."""

import importlib
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commute_verify.codegen.__main__ import KERNELS_FOLDER, main
from commute_verify.codegen.backends import BACKENDS
from commute_verify.codegen.catalogue import KERNELS
from commute_verify.codegen.contractions import contract, cuts
from commute_verify.codegen.emit import WIDTH, module_source
from commute_verify.codegen.formulas import excess_loss, excess_parameters
from commute_verify.codegen.primitives import PRIMITIVES, letters, relabel
from commute_verify.errors import CommuteError
from commute_verify.symbolic.expansions import word_operator
from commute_verify.symbolic.trees import TARGET, combine, tree

ARGUMENTS = {
    "lie_bracket": ["hessian_j_gradient_i", "hessian_i_gradient_j"],
    "order_criterion": ["g", "Hu"],
    "excess_parameters_2": ["d1", "d2", "g", "Hg"],
    "excess_parameters_3": ["d1", "d2", "d3", "g", "Hg", "HHg", "Tgg"],
    "excess_loss_2": ["d1", "d2", "g", "u", "Hu", "HLg"],
    "excess_loss_3": ["d1", "d2", "d3", "g", "u", "Hu", "Hg", "HLg", "Tu_g", "TL"],
}
FILES = {name: f"{name}_kernels.py" for name in BACKENDS}


def emitted_copy(folder):
    assert main([], folder) == 0
    return {name: folder / file for name, file in FILES.items()}


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_the_committed_kernels_are_what_the_engine_emits_today(capsys):
    assert main(["--check"]) == 0
    assert capsys.readouterr() == ("", "")


def test_writing_gives_the_committed_bytes_and_leaves_nothing_else(tmp_path):
    emitted_copy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES.values())
    for file in FILES.values():
        assert (tmp_path / file).read_bytes() == (KERNELS_FOLDER / file).read_bytes()


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("= -", "= "),
        ("...ij,...jn", "...ji,...jn"),
        ("⟨H_j u, g_i⟩", "½ ⟨H_j u, g_i⟩"),
        ("    return result\n", "    return result  # mine\n"),
    ],
)
def test_check_names_a_file_that_was_edited_and_shows_where(tmp_path, capsys, name, old, new):
    path = emitted_copy(tmp_path)[name]
    edited = path.read_text(encoding="utf-8").replace(old, new, 1)
    path.write_text(edited, encoding="utf-8")
    assert main(["--check"], tmp_path) == 1
    out, err = capsys.readouterr()
    assert path.name in err
    assert not any(file in err for file in FILES.values() if file != path.name)
    assert f"--- {path.name} (committed)" in out
    assert path.read_text(encoding="utf-8") == edited


def test_check_names_a_file_that_is_missing(tmp_path, capsys):
    emitted_copy(tmp_path)["torch"].unlink()
    assert main(["--check"], tmp_path) == 1
    assert FILES["torch"] in capsys.readouterr().err


def test_the_source_does_not_depend_on_the_hash_seed():
    code = (
        "from commute_verify.codegen.emit import module_source as s\n"
        "from commute_verify.codegen.backends import BACKENDS as b\n"
        "import hashlib; print(hashlib.sha256(''.join(map(s, b.values())).encode()).hexdigest())"
    )
    assert run_python(code, PYTHONHASHSEED="1") == run_python(code, PYTHONHASHSEED="2")


RUFF = shutil.which("ruff") or shutil.which("ruff", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(RUFF is None, reason="ruff is not installed")
@pytest.mark.parametrize("command", [["format", "--diff"], ["check"]])
def test_ruff_would_leave_the_emitted_files_as_they_are(command):
    result = subprocess.run(
        [str(RUFF), *command, "--no-cache", str(KERNELS_FOLDER)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("backend", BACKENDS)
def test_lines_are_short_and_end_without_spaces(backend):
    for line in module_source(BACKENDS[backend]).split("\n"):
        assert len(line) <= WIDTH
        assert line == line.rstrip()


@pytest.mark.parametrize("backend", BACKENDS)
def test_emitted_functions_have_the_agreed_arguments_and_full_docstrings(backend):
    module = importlib.import_module(f"commute_verify.kernels.{backend}_kernels")
    assert sorted(module.__all__) == sorted(ARGUMENTS)
    for name, arguments in ARGUMENTS.items():
        function = getattr(module, name)
        assert list(inspect.signature(function).parameters) == arguments
        for word in ("Returns", "Sign:", "Units:", "Source:", ">>>", *arguments):
            assert word in function.__doc__


def test_kernels_import_one_array_library_and_the_emitter_none():
    heavy = "print(*sorted({'numpy', 'torch', 'sympy'} & set(sys.modules)))"
    assert run_python(f"import sys, commute_verify.kernels.numpy_kernels; {heavy}") == "numpy\n"
    assert "sympy" not in run_python(f"import sys, commute_verify.kernels.torch_kernels; {heavy}")
    assert run_python(f"import sys, commute_verify.codegen.__main__; {heavy}") == "sympy\n"


@pytest.mark.parametrize("formula", [excess_loss(3), excess_parameters(3)])
def test_one_word_of_distinct_letters_stands_for_words_with_equal_ones(formula):
    for part in formula.parts:
        for image in [(1,) * len(part.letters), part.letters[::-1], (2, 2, 1)[: len(part.letters)]]:
            names = dict(zip(part.letters, image, strict=True))
            renamed = combine(*((c, {relabel(t, names): 1}) for t, c in part.series.items()))
            direct = (
                word_operator(image, tree(TARGET))
                if formula.parts[0].series == excess_loss(1).parts[0].series
                else combine((-1, word_operator(image[:-1], tree(image[-1]))))
            )
            assert renamed == direct


def test_every_cut_of_a_scalar_tree_keeps_all_its_nodes():
    t = tree(TARGET, tree(1, tree(2), tree(3)), tree(4))
    assert len(list(cuts(t))) == 4
    for upper, lower in cuts(t):
        assert sorted(letters(upper) + letters(lower)) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "unprintable", [tree(TARGET), tree(1, tree(2), tree(3), tree(4)), tree(TARGET, *map(tree, (1, 2, 3, 4)))]
)
def test_a_tree_without_primitives_is_refused_by_name(unprintable):
    with pytest.raises(CommuteError, match="the tree ") as refusal:
        contract(unprintable, PRIMITIVES)
    assert f"{unprintable} is" in str(refusal.value)
    assert "add a primitive" in str(refusal.value)


def test_order_below_one_is_refused():
    with pytest.raises(CommuteError, match="order 0"):
        excess_loss(0)


def test_kernels_are_named_once():
    assert sorted(kernel.name for kernel in KERNELS) == sorted(ARGUMENTS)
