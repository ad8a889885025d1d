"""Imports point one way, and the command line starts without the heavy libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import tunesmith

ROOT = Path(tunesmith.__file__).parent
# a module may import from its own layer and the layers after it
LAYERS = [
    {"cli", "cli_boundary", "cli_init", "cli_judges", "cli_templates", "cli_options"},
    {"pipeline"},
    {"stages"},
    {"train", "evaluate", "report", "init"},
    {"data"},
    {"chat"},
    {"models"},
    {"seal", "artefacts"},
    {"run_files"},
    {"distributed"},
    {
        "recipe",
        "records",
        "errors",
        "rundir",
        "progress",
        "screen",
        "packages",
        "machine",
        "inert",
        "lock",
        "ranks",
        "signals",
        "yaml_files",
        "jinja_budget",
    },
]
HEAVY = (
    "torch", "transformers", "datasets", "sklearn", "scipy", "pandas", "matplotlib", "pyarrow",
)  # fmt: skip
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}


def imports() -> list[tuple[str, str]]:
    """(importing, imported) top-level parts of the package, imports inside functions included."""
    found = []
    for path in ROOT.rglob("*.py"):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tunesmith"):
                parts = (node.module or "").split(".")
                names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
                found += [(part, name) for name in names]
    return [(a, b) for a, b in found if a in LAYER and b in LAYER]


def test_imports_point_one_way() -> None:
    assert len(imports()) > 100
    wrong = sorted({(a, b) for a, b in imports() if LAYER[a] > LAYER[b]})
    assert wrong == []


def test_train_evaluate_and_report_do_not_import_each_other() -> None:
    apart = {"train", "evaluate"}
    assert not {(a, b) for a, b in imports() if a in apart and b in apart and a != b}


def test_the_command_line_loads_no_heavy_library() -> None:
    code = f"import sys, tunesmith.cli; print([m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.skipif(find_spec("torchao") is None, reason="needs torchao")
def test_what_torchao_says_of_other_machines_is_not_printed() -> None:
    code = "import tunesmith.train.loop, torchao.optim"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert (result.stdout, result.stderr) == ("", "")


def test_errors_that_need_no_torch_come_without_it(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    for text, message in (
        ("data: {source: gone.csv}", "gone.csv: no such file"),
        ("data: {sauce: a.csv}", "unknown key"),
        ("[", "not readable as YAML"),
    ):
        recipe.write_text(text, encoding="utf-8")
        code = (
            "import sys, tunesmith.cli as cli\n"
            f"sys.argv = ['tunesmith', 'run', {str(recipe)!r}]\n"
            "try:\n    cli.main()\n"
            "except SystemExit as stop:\n    print(stop.code, 'torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "2 False"
        assert message in done.stderr
