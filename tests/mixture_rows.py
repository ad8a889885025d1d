"""A mixture of two tasks, six rows and two systems' answers, with scores that are known by hand."""

from __future__ import annotations

from tunesmith.evaluate.compare import Resampling
from tunesmith.evaluate.metrics import OVER_TASKS
from tunesmith.evaluate.tasks import evaluate_task
from tunesmith.records import Evaluation, Example, Prediction
from tunesmith.run_files import Task

OPTIONS = Resampling(confidence=0.95, resamples=2000, seed=0)
LABELS = Task("classify", "choice", ("accuracy",))
FIELDS = Task("extract", "json", ("json_f1", "valid_json"))
MIXTURE = Task("mixture", metrics=(OVER_TASKS,), tasks={"mood": LABELS, "fields": FIELDS})


def examples(task: str, answers: list[str], choices: tuple[str, ...] = ()) -> list[Example]:
    return [
        Example(f"{task}{i}", f"{task}{i}", "t", "Q", a, (a,), choices, task=task)
        for i, a in enumerate(answers)
    ]


MOOD = examples("mood", ["good", "bad", "good", "bad"], ("good", "bad"))
JSON = examples("fields", ['{"a": 1, "b": 2}', '{"a": 1, "b": 3}'])
ALL = [*MOOD, *JSON]


def evaluation(system: str, texts: list[str], task: Task = MIXTURE) -> Evaluation:
    rows = [e for e in ALL if e.task in task.tasks]
    predictions = [
        Prediction(e.id, text, stopped=True, num_tokens=1)
        for e, text in zip(rows, texts, strict=True)
    ]
    return evaluate_task(system, "test", rows, predictions, task)


BASE = ["good", "what?", "bad", "good", "no idea", '{"a": 1, "b": 2}']
"""Accuracy 1/4; fields: none and one of two right (F1 0 and 0.5)."""
TUNED = ["good", "bad", "good", "good", '{"a": 1, "b": 2}', '{"a": 1, "b": 2}']
"""Accuracy 3/4; F1 1 and 0.5."""
