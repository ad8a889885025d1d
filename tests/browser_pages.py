"""Reports with rows that are known by heart, for the tests in a browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from tunesmith.records import Comparison, Estimate, Evaluation, Example, Prediction, Question
from tunesmith.report.content import Report
from tunesmith.report.html import render_html
from tunesmith.report.plots import plots_of

ATTACK = "</script><img src=x onerror=\"document.title='run'\"><b>bold</b>\u2028end"
LABELS = ("good", "bad")
# text, right answer, base, linear, tuned
ROWS = [
    ("the soup was warm", "good", "bad", "good", "good"),  # fixed
    ("the bread was old", "bad", "good", "bad", "bad"),  # fixed
    ("the waiter ran", "bad", "good", "good", "bad"),  # fixed
    ("the tea was fine", "good", "good", "good", "bad"),  # broken
    ("the cake was dry", "bad", "bad", "bad", "bad"),  # both right
    ("=1+1 was the bill", "good", "bad", "bad", "no idea"),  # both wrong, unreadable
    (f"the chair {ATTACK}", "good", "good", "bad", "good"),  # both right
]


def classified(copies: int = 1, words: int = 0) -> Report:
    """ROWS as often as asked for, each with so many words of its own behind it; the base is the
    reference.
    """
    random = Random(0)

    def own() -> str:
        return "".join(f" word{random.randrange(2000)}" for _ in range(words))

    rows = [(f"{row[0]}{own()}", *row[1:]) for _ in range(copies) for row in ROWS]
    examples = [
        Example(
            f"r{i}", f"r{i}", "t", f"Say good or bad.\nText: {row[0]}\nAnswer:", row[1],
            references=(row[1],), choices=LABELS, split="test", source=f"rows.csv:{i + 2}",
        )
        for i, row in enumerate(rows)
    ]  # fmt: skip
    systems = [
        _evaluation(name, examples, [row[k] for row in rows])
        for name, k in (("base", 2), ("tfidf_linear", 3), ("tuned", 4))
    ]
    return Report(
        name="soup",
        verdict_kind="better",
        verdict="Accuracy 71.4 %.",
        heading="Better than its base",
        primary_metric="accuracy",
        evaluations=systems,
        comparisons=[_comparison(len(rows))],
        examples={example.id: example for example in examples},
        questions=_questions(),
        history=[{"step": i, "validation_loss": 0.5 - i / 100} for i in range(3)],
        recipe={"model": "base-model", "output_dir": "runs/soup"},
        slice_of={"length": {e.id: ("long", "short")[i % 7 > 1] for i, e in enumerate(examples)}},
    )  # fmt: skip


def summarised() -> Report:
    """Free text with scores between 0 and 1."""
    answers = {"base": ("a red dog", 0.2), "tuned": ("a black cat on a mat", 0.9)}
    example = Example("s1", "s1", "t", "Describe it.", "a black cat on the mat")
    systems = [
        Evaluation(
            name, "test", ["s1"], ["s1"], [Prediction("s1", text, True, 5)],
            {"rougeL": [score]}, {"rougeL": Estimate(score, 1, 0.1, (0.0, 1.0))},
        )
        for name, (text, score) in answers.items()
    ]  # fmt: skip
    return Report("cats", "better", "v", "rougeL", systems, (), {"s1": example})


def _evaluation(name: str, examples: Sequence[Example], texts: Sequence[str]) -> Evaluation:
    ids = [example.id for example in examples]
    right = [float(e.completion == text) for e, text in zip(examples, texts, strict=True)]
    true = np.array([[e.completion == label for label in LABELS] for e in examples])
    answered = np.array([[text == label for label in LABELS] for text in texts])
    counts = (true.T.astype(int) @ answered.astype(int)).tolist()
    unread = (true.T.astype(int) @ ~answered.any(axis=1)).tolist()
    mean = sum(right) / len(right)
    return Evaluation(
        name,
        "test",
        ids,
        ids,
        [Prediction(id, text, True, 2) for id, text in zip(ids, texts, strict=True)],
        {"accuracy": right, "valid": answered.any(axis=1).astype(float).tolist()},
        {"accuracy": Estimate(mean, len(ids), 0.1, (max(0.0, mean - 0.2), min(1.0, mean + 0.2)))},
        {
            "confusion": {
                "labels": list(LABELS),
                "counts": [[*row, n] for row, n in zip(counts, unread, strict=True)],
            }
        },
        {"macro_f1": np.hstack([true & answered, answered, true]).astype(float)},
    )


def _comparison(n: int) -> Comparison:
    return Comparison(
        "base", "tuned", "accuracy", 0.29, 0.1, 0.1, (0.1, 0.5), 0.01, 3, 3, 1, n, n, 0.2
    )


def _questions() -> list[Question]:
    numbers = (0.29, (0.1, 0.5), 0.01, 0.43, 0.71)
    return [
        Question("task", "Right on the task", "yes", "It is.", "accuracy", "base", *numbers),
        Question(
            "cheaper", "Beats the cheap alternative", "cannot tell", "Who knows.",
            "accuracy", "tfidf_linear", *numbers,
        ),
        Question("kept", "Kept its general language", "not measured", "It was not measured."),
    ]  # fmt: skip


def written(report: Report, path: Path) -> Path:
    """The page of a report as a file."""
    path.write_text(render_html(report, plots_of(report)), encoding="utf-8")
    return path
