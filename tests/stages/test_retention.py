"""The built-in retention suite: when it is asked, and that its rows are paired and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import byte_tokenizer, tiny_llama

from tunesmith.chat.format import chat_format, complete_tokenizer
from tunesmith.evaluate.headline import kept_question
from tunesmith.evaluate.questions import METRIC, read_questions
from tunesmith.evaluate.systems import Decoding
from tunesmith.recipe import BUILT_IN_MODEL, Recipe, build_recipe
from tunesmith.rundir import RunDir
from tunesmith.stages import retention
from tunesmith.stages.common import asks_general_questions
from tunesmith.stages.demo import demo_recipe
from tunesmith.stages.held import Held, Source

ASKED = 120  # of the questions, so that a tiny model is done in a second


def recipe_with(model: str, **evaluation: Any) -> Recipe:
    return build_recipe({"model": model, "evaluation": {"resamples": 200, **evaluation}})[0]


@pytest.fixture
def few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "read_questions", lambda: read_questions()[:ASKED])
    how = Decoding(16, (), frozenset(), 4096, rank_choices=True)
    monkeypatch.setattr(retention, "decoding", lambda *_: how)


@pytest.mark.parametrize(
    "asked, template, expected",
    [
        ("auto", None, False),
        ("auto", "{{ messages[0].content }}", True),
        (True, None, True),
        (False, "{{ messages[0].content }}", False),
    ],
)
def test_general_questions_are_asked_of_models_with_a_chat_template(
    tmp_path: Path, asked: str | bool, template: str | None, expected: bool
) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    tiny_llama().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert asks_general_questions(recipe_with(str(tmp_path), retention=asked)) is expected


def test_the_built_in_model_is_asked_only_where_the_recipe_says_so() -> None:
    assert not asks_general_questions(recipe_with(BUILT_IN_MODEL))
    assert asks_general_questions(recipe_with(BUILT_IN_MODEL, retention=True))


def test_the_demo_reads_the_plain_text_once_whatever_the_model(tmp_path: Path) -> None:
    assert [Path(p).name for p in demo_recipe(tmp_path).evaluation.panel] == ["held_out.txt"]
    assert demo_recipe(tmp_path, "some-model").evaluation.panel == []


def measured(tmp_path: Path, before: Any, after: Any) -> tuple[Any, ...]:
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    tiny_llama().save_pretrained(tmp_path / "model")
    recipe, run = recipe_with(str(tmp_path / "model"), retention=True), RunDir(tmp_path)
    chat = chat_format(tokenizer, "")
    held = [
        Held(Source(str(run.path), one is after, "float32", False), chat, one, None)
        for one in (before, after)
    ]
    retention.measure_retention(run, recipe, (held[0], held[1]), chat)
    return retention.read_retention(run)


@pytest.mark.usefixtures("few_questions")
def test_the_suite_has_two_rows_that_are_judged(tmp_path: Path) -> None:
    after = tiny_llama()
    for weight in after.parameters():
        weight.data.mul_(-3.0 if weight.ndim > 1 else 1.0)
    questions, text = measured(tmp_path, tiny_llama(), after)
    assert (questions.name, questions.metric, questions.n) == ("General questions", METRIC, ASKED)
    assert questions.p is not None
    assert questions.difference == pytest.approx(questions.after - questions.before)
    assert questions.ci[0] <= questions.difference <= questions.ci[1]
    assert questions.detectable is not None
    assert 0 < questions.detectable < 1
    assert (text.name, text.metric, text.p) == ("Plain text", "bits_per_byte", None)
    assert text.difference > 0
    assert kept_question([questions, text], 0.05).against in ("General questions", "Plain text")


@pytest.mark.usefixtures("few_questions")
def test_a_model_that_did_not_change_has_lost_nothing(tmp_path: Path) -> None:
    questions, text = measured(tmp_path, tiny_llama(), tiny_llama())
    assert (questions.difference, questions.p, text.difference) == (0.0, 1.0, 0.0)
    assert questions.before == questions.after
    assert text.detectable is None
    assert questions.detectable == pytest.approx(0.065, abs=0.001)  # at most 8 of 120 differ


def test_too_few_questions_that_can_be_asked_make_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(retention, "read_questions", lambda: read_questions()[:99])
    (text,) = measured(tmp_path, tiny_llama(), tiny_llama())
    assert text.name == "Plain text"
    monkeypatch.setattr(retention, "max_positions", lambda *_: 10)
    (text,) = measured(tmp_path, tiny_llama(), tiny_llama())
    assert "99 of 99 general questions cannot be written" in capsys.readouterr().err
