"""The general questions: fit to be shipped, asked of any model, and scored as their likelihoods
say.
"""

from __future__ import annotations

import json
import runpy
from collections import Counter
from pathlib import Path

import pytest
import torch
from support import byte_tokenizer, tiny_llama

from tunesmith.chat.format import chat_format, complete_tokenizer
from tunesmith.evaluate.compare import evaluate
from tunesmith.evaluate.questions import METRIC, QUESTIONS, answerable, read_questions
from tunesmith.evaluate.systems import Decoding, rank

TOOL = Path(__file__).resolve().parents[2] / "tools/make_retention.py"
HOW = Decoding(16, (), frozenset(), 4096, rank_choices=True)


def test_the_file_is_what_the_tool_writes() -> None:
    written = "".join(runpy.run_path(str(TOOL))["lines"]())
    assert QUESTIONS.read_text(encoding="utf-8") == written


def test_there_are_enough_different_questions() -> None:
    questions = read_questions()
    assert len(questions) == 505
    assert len({question.id for question in questions}) == 505
    assert len({question.prompt for question in questions}) == 505


def test_every_question_has_four_different_choices_one_of_them_right() -> None:
    for question in read_questions():
        folded = {choice.strip() for choice in question.choices}
        assert len(folded) == len(question.choices) == 4, question.id
        assert all(choice for choice in question.choices)
        assert question.completion in question.choices, question.id


def test_the_right_choice_stands_in_each_place_equally_often() -> None:
    places = Counter(q.choices.index(q.completion) for q in read_questions())
    assert sorted(places) == [0, 1, 2, 3]
    assert max(places.values()) - min(places.values()) <= 1


def test_no_right_choice_can_be_told_by_its_length_alone() -> None:
    # a model without any knowledge that prefers short choices must stay near a quarter
    questions = read_questions()
    shortest = [
        min(q.choices, key=lambda choice: (len(choice), choice)) == q.completion for q in questions
    ]
    longest = [
        max(q.choices, key=lambda choice: (len(choice), choice)) == q.completion for q in questions
    ]
    assert 0.15 < sum(shortest) / len(questions) < 0.35
    assert 0.15 < sum(longest) / len(questions) < 0.35


def test_a_model_that_knows_nothing_takes_the_choice_of_fewest_tokens() -> None:
    model, tokenizer = tiny_llama(), byte_tokenizer()
    model.lm_head.weight.data = torch.zeros_like(model.lm_head.weight)
    complete_tokenizer(tokenizer)
    chat = chat_format(tokenizer, "")
    questions = read_questions()[:40]
    predictions = rank(model, chat, questions, HOW)
    found = evaluate("base", "test", questions, predictions, [METRIC], "choice")
    # every byte is as likely as every other, so the likeliest choice is the first of the shortest
    expected = [
        float(min(q.choices, key=lambda choice: len(choice.encode())) == q.completion)
        for q in questions
    ]
    assert list(found.scores[METRIC]) == expected


def test_what_a_model_has_no_room_for_is_not_asked() -> None:
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    chat = chat_format(tokenizer, "")
    questions = read_questions()
    assert answerable(questions, chat, 1024) == questions
    short = answerable(questions, chat, 60)
    assert 0 < len(short) < len(questions)
    assert all(len(q.prompt.encode()) < 60 for q in short)


def test_questions_are_read_from_lines_of_json(tmp_path: Path) -> None:
    row = {"id": "a", "kind": "k", "question": "Q?", "choices": ["x", "y"], "answer": "y"}
    (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n")
    (question,) = read_questions(tmp_path / "q.jsonl")
    assert (question.prompt, question.completion, question.choices) == ("Q?", "y", ("x", "y"))
    assert question.source == "q.jsonl:1"


@pytest.mark.parametrize("answer", ["Paris", "Berlin"])
def test_capitals_are_among_the_facts(answer: str) -> None:
    assert answer in {q.completion for q in read_questions() if q.template == "capital"}
