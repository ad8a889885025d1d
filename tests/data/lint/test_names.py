"""The names of findings: what data.allow takes, what stops a run, and where they are explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tunesmith.data.lint.names import (
    ABOUT_ROWS,
    check_names,
    not_allowed,
    stop_on_errors,
)
from tunesmith.data.lint.rules import RULES
from tunesmith.errors import DataError, RecipeError
from tunesmith.records import Finding

DOCS = Path(__file__).resolve().parents[3] / "docs" / "findings.md"
LEAK = Finding("target_in_prompt", "error", "it shows", ("a.csv:2",), "take it out")
SHIFT = Finding("shifted_labels", "error", "one row off", ("a.csv:3",), "look at it")
TYPO = Finding("label_typo", "warning", "a slip", ("a.csv:4",))


def test_an_unknown_name_to_allow_is_an_error_with_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        check_names(["label_typo", "label_typos"])
    assert str(caught.value) == (
        "data.allow: no finding is called 'label_typos'\nhint: did you mean 'label_typo'?"
    )
    check_names([*ABOUT_ROWS, *RULES])


def test_errors_stop_together_with_one_line_that_allows_them() -> None:
    with pytest.raises(DataError) as caught:
        stop_on_errors([LEAK, SHIFT, TYPO], ["number_labels"])
    assert str(caught.value) == (
        "target_in_prompt: it shows; shifted_labels: one row off\n"
        "hint: take it out; look at it; where this is meant so, "
        "data.allow: [number_labels, target_in_prompt, shifted_labels] goes on"
    )


def test_what_is_allowed_does_not_stop_and_is_not_shown() -> None:
    stop_on_errors([LEAK, TYPO], ["target_in_prompt"])
    assert not_allowed([LEAK, TYPO], ["target_in_prompt"]) == [TYPO]
    stop_on_errors([TYPO], [])


def test_the_docs_explain_every_name_once() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(rows) == sorted(ABOUT_ROWS)
    assert not set(ABOUT_ROWS) & set(RULES)
