"""The last line of `make test-slow`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from one_line_summary import summary_line

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest
def test_good(): pass
def test_bad(): assert False
def test_of_a_broken_fixture(broken): pass
@pytest.fixture
def broken(): raise ValueError
@pytest.mark.skip(reason="why")
def test_later(): pass
"""


def test_the_line_has_all_four_numbers() -> None:
    stats = {"passed": [1] * 1234, "error": [1], "failed": [1, 2], "warnings": [1] * 7}
    assert summary_line(stats, 90) == "1,234 passed, 3 failed, 0 skipped, 1.5 minutes"


def test_it_is_the_last_that_pytest_prints(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "one_line_summary", "-p", "no:cacheprovider",
         "--rootdir", str(tmp_path), "-q", str(tmp_path)],
        capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "tests")},
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"1 passed, 2 failed, 1 skipped, \d+\.\d minutes", last)


def test_make_asks_for_it() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = makefile.partition("\ntest-slow: setup-dev\n")[2].partition("\n\n")[0]
    assert recipe.splitlines()[-1].strip() == (
        '$(BIN)/python -m pytest -p one_line_summary -m "slow or sweep"'
    )
