"""benchmarks/defects.py: what counts as noticed, and a few of its kinds by the real commands."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tunesmith

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def defects(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("defects")


@pytest.fixture
def job(defects: ModuleType, tmp_path: Path) -> Any:
    return defects.Job(tmp_path, tmp_path, lambda _: 0)


def judged(defects: ModuleType, job: Any, outcome: tuple[int, str], **options: Any) -> Any:
    kind = defects.Kind("1", "x", lambda _: [], "rows.csv:7", **options)
    return defects.judged(kind, job, defects.Said(*outcome), True, "prepare")


SAID = "error: {}/rows.csv:7: odd\nhint: look\n"


@pytest.mark.parametrize(
    "code, text, when",
    [
        (2, SAID, "at preparation"),
        (1, SAID, "NOT NOTICED"),  # another exit code
        (2, "error: something else\n", "NOT NOTICED"),  # other words
        (2, f"Traceback (most recent call last)\n{SAID}", "NOT NOTICED"),
        (0, "rows.csv:7", "NOT NOTICED"),  # goes on where it should stop
    ],
)
def test_code_words_and_no_traceback_are_all_needed(
    defects: ModuleType, job: Any, code: int, text: str, when: str
) -> None:
    found = judged(defects, job, (code, text.format(job.folder)))
    assert found.when == when
    if text == SAID:
        assert found.words == "rows.csv:7: odd / hint: look"  # no path of this machine


@pytest.mark.parametrize(
    "right, when", [(True, "at preparation, as a note"), (False, "NOT NOTICED")]
)
def test_a_command_that_goes_on_must_end_rightly(
    defects: ModuleType, job: Any, right: bool, when: str
) -> None:
    text = "note: rows.csv:7 is passed over\n"
    found = judged(defects, job, (0, text), code=0, right=lambda job, said: right)
    assert found.when == when
    assert found.words == "note: rows.csv:7 is passed over"


def test_the_kinds_have_names_of_their_own_and_known_sections(defects: ModuleType) -> None:
    names = [kind.name for kind in defects.KINDS]
    assert len(set(names)) == len(names)
    assert {kind.section for kind in defects.KINDS} == set(defects.SECTIONS)


def test_what_is_tried_with_trl_is_a_kind_of_ours(
    defects: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = importlib.import_module("defect_kinds.peers")
    assert set(peers.NAMES) <= {kind.name for kind in defects.KINDS}


def test_the_table_counts_what_was_noticed_and_escapes_what_was_said(defects: ModuleType) -> None:
    found = [
        defects.Noticed("1", "one", "at preparation", 2, "a | b <i>", "not noticed: trains it"),
        defects.Noticed("5", "two", "NOT NOTICED", 0, ""),
    ]
    text = defects.document(found, "COMMAND", "TRL 1.0")
    assert "2 kinds of defects" in text
    assert "1 noticed or harmless, 1 not noticed" in " ".join(text.split())
    assert r"| one | at preparation | 2 | a \| b &lt;i> | not noticed: trains it |" in text
    assert "| two | NOT NOTICED | 0 |  | - |" in text
    assert "with its defaults: 1 not noticed. `-`: not tried" in text


def test_results_of_earlier_calls_are_kept_and_replaced(
    defects: ModuleType, tmp_path: Path
) -> None:
    first, second = (kind.name for kind in defects.KINDS[:2])
    one = defects.Noticed("1", first, "NOT NOTICED", 0, "", "handled")
    two = defects.Noticed("1", second, "at preparation", 2, "words")
    path = tmp_path / "results.json"
    assert defects.with_earlier([two, one], path) == [one, two]
    mended = defects.Noticed("1", first, "at preparation", 2, "words")
    [found, other] = defects.with_earlier([mended], path)
    assert (found.when, found.peer, other) == ("at preparation", "handled", two)


def test_a_few_kinds_by_the_real_command(tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(Path(tunesmith.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    chosen = "^1 a file without a header|^5 recipe: train.train_batch_size|^1 a quote that never"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "defects.py"), "--only", chosen,
         "--keep", str(tmp_path / "results.json"), "--write", str(tmp_path / "defects.md")],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.endswith("3 of 3 noticed or harmless\n")
    found = {name: one["when"] for name, one in json.loads(
        (tmp_path / "results.json").read_text()
    ).items()}  # fmt: skip
    assert found == {
        "a file without a header": "at preparation, as a note",
        "a quote that never closes": "at preparation",
        "recipe: train.train_batch_size=0": "before any row is read",
    }
    assert "| recipe: train.train_batch_size=0 | before any row is read | 2 |" in (
        tmp_path / "defects.md"
    ).read_text(encoding="utf-8")
