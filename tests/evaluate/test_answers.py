"""The table of answers (answers.yaml): what a fair reader finds in each, or that it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tunesmith.evaluate.parse import Json, parse, text_after_answer

TABLE = yaml.safe_load(Path(__file__).with_name("answers.yaml").read_text(encoding="utf-8"))


def cases() -> Iterator[tuple[str, tuple[str, ...], str, Json]]:
    for group in TABLE["choice"]:
        for answer, reading in group["answers"]:
            yield "choice", tuple(group["choices"]), answer, reading
    for parser in ("number", "json"):
        for answer, reading in TABLE[parser]:
            yield parser, (), answer, reading


CASES = list(cases())


@pytest.mark.parametrize(("parser", "choices", "answer", "reading"), CASES)
def test_an_answer_is_read_fairly(
    parser: str, choices: tuple[str, ...], answer: str, reading: Json
) -> None:
    found = parse(answer, parser, choices)
    assert found == (pytest.approx(reading) if isinstance(reading, float) else reading)


def test_the_table_has_some_hundred_cases_and_no_answer_twice() -> None:
    assert len(CASES) >= 400
    keys = [case[:3] for case in CASES]
    assert len(set(keys)) == len(keys)


def test_every_reading_of_a_choice_is_one_of_the_choices() -> None:
    assert all(c[3] is None or c[3] in c[1] for c in CASES if c[0] == "choice")


@pytest.mark.parametrize(("parser", "choices", "answer", "reading"), CASES)
def test_nothing_follows_an_answer_that_cannot_be_read(
    parser: str, choices: tuple[str, ...], answer: str, reading: Json
) -> None:
    after = text_after_answer(answer, parser, choices)
    assert reading is not None or after == ""
