"""Bytes in the place of data files, recipes, models and a run's files: no traceback, no hang,
bounded memory. By hypothesis here, by atheris for ten minutes in `make test-slow`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import fuzz_targets
import pytest
from fuzz_targets import SEEDS, TARGETS, TooMuch, feed, within_bounds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = {"data": 150, "recipe": 200, "run": 150, "model": 25}


def mutated(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """A seed in which some pieces are replaced, or bytes of no kind."""
    piece = st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [b"", b"null", b"NaN", b"1e999", b"[" * 2000, b'"', b"\\ud800", b"\xff\xfe", b"&a *a",
             b"{{", b"!!python/object:os.system", b"-1", b"9" * 400, b"\r", b"\x00"]
        ),
    )  # fmt: skip
    edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), piece), min_size=1, max_size=4)

    def apply(seed: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
        for where, length, new in edits:
            start = int(where * len(seed))
            seed = seed[:start] + new + seed[start + length :]
        return seed

    return st.one_of(st.builds(apply, st.sampled_from(seeds), edits), st.binary(max_size=200))


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_give_a_traceback_a_hang_or_much_memory(target: str, tmp_path: Path) -> None:
    @settings(
        max_examples=EXAMPLES[target], deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(mutated(SEEDS[target]))
    def check(data: bytes) -> None:
        feed(target, data, tmp_path / "work")

    for seed in SEEDS[target]:
        feed(target, seed, tmp_path / "work")
    check()


def test_the_fuzz_test_lets_no_other_error_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(data: bytes, folder: Path) -> None:
        raise AttributeError("'list' object has no attribute 'get'")

    monkeypatch.setitem(TARGETS, "run", broken)
    with pytest.raises(AttributeError, match="no attribute 'get'"):
        feed("run", b"", tmp_path / "work")
    monkeypatch.setattr(fuzz_targets, "BYTES", -1)
    with pytest.raises(AssertionError, match="the process grew by"), within_bounds():
        pass


def hang() -> None:
    while True:
        pass


def test_a_hang_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_targets, "SECONDS", 1)
    with pytest.raises(TooMuch, match="more than 1 s"), within_bounds():
        hang()


@pytest.mark.sweep
@pytest.mark.skipif(find_spec("atheris") is None, reason="needs atheris")
@pytest.mark.parametrize("target", TARGETS)
def test_ten_minutes_of_libfuzzer_find_nothing(target: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("fuzz_atheris.py")
    path = os.pathsep.join([str(script.parent), *sys.path])
    done = subprocess.run(
        [sys.executable, str(script), target, str(600 // len(TARGETS)), str(tmp_path)],
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-3000:]
