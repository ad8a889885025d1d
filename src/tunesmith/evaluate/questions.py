"""General questions with four choices: what a model knew before training, and still knows.

505 questions of this project's own (tools/make_retention.py): facts, words, grammar, sums, everyday
reasoning, reading. They are asked in the model's chat template, and the answer is the choice of the
highest likelihood, as in lm-evaluation-harness's `acc`: nothing is generated and nothing read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunesmith.chat.format import ChatFormat
from tunesmith.data.tokenize import tokenize_examples
from tunesmith.records import Example, TokenizedExample

QUESTIONS = Path(__file__).parents[1] / "assets" / "retention" / "questions.jsonl"
PLAIN_TEXT = Path(__file__).parents[1] / "assets" / "held_out.txt"
METRIC = "choice_acc"
LEAST = 100  # with fewer, no loss worth knowing of could be seen


def read_questions(path: Path = QUESTIONS) -> list[Example]:
    """The questions as examples: the prompt is the question, the completion the right choice."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Example(
            id=row["id"],
            row_id=row["id"],
            template=row["kind"],
            prompt=row["question"],
            completion=row["answer"],
            references=(row["answer"],),
            choices=tuple(row["choices"]),
            source=f"{path.name}:{number}",
        )
        for number, row in enumerate(rows, start=1)
    ]


def answerable(questions: Sequence[Example], chat: ChatFormat, max_length: int) -> list[Example]:
    """The questions that the model can be asked: prompt and each choice can be spelled and fit
    into `max_length` tokens.
    """
    asked = [
        (number, replace(question, completion=choice))
        for number, question in enumerate(questions)
        for choice in question.choices
    ]
    rows = tokenize_examples([example for _, example in asked], chat, max_length)
    unfit = {
        number
        for (number, _), row in zip(asked, rows, strict=True)
        if not isinstance(row, TokenizedExample)
    }
    return [question for number, question in enumerate(questions) if number not in unfit]
