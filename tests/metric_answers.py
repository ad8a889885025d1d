"""Answers that every metric can read, right and wrong ones, scored."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.evaluate.compare import evaluate
from tunesmith.evaluate.metrics.base import Metric
from tunesmith.records import Evaluation, Example, Prediction

ANSWERS = {
    "choice": ("red", "green", "blue"),
    "number": ("1", "2.5", "40", "-3"),
    "json": ('{"a": 1}', '{"a": 2, "b": "x"}', "[1, 2]"),
    "labels": ("joy\nanger", "fear", "none"),
    "tags": (
        "Ada B-PER\nleft O\nCork B-LOC",
        "Ada O\nleft O\nCork B-LOC",
        "Ada O\nleft O\nCork O",
    ),
    "text": ("the cat sat on the mat", "a dog ran to the old house by the sea", "rain"),
}


def scored(
    name: str, metric: Metric, true: Sequence[int], said: Sequence[int], groups: Sequence[int]
) -> Evaluation:
    """`said[i]` counts into the answers; past their end it is an empty answer."""
    parser = metric.parsers[0]
    texts, n = (*ANSWERS[parser], ""), len(ANSWERS[parser])
    choices = ANSWERS["choice"] if parser == "choice" else ()
    examples = [
        Example(f"{i}", f"{i}", "", "", texts[t], (texts[t],), choices, group=f"g{g}")
        for i, (t, g) in enumerate(zip((t % n for t in true), groups, strict=True))
    ]
    predictions = []
    for i, s in enumerate(s % (n + 1) for s in said):
        logprobs = tuple(-1.0 - (choice + s) % 3 for choice in range(3))
        predictions.append(
            Prediction(
                f"{i}",
                texts[s],
                True,
                1,
                logprobs,
                -s - 1,
                4,
                choice_logprobs_without_stop=logprobs,
            )
        )
    return evaluate("system", "test", examples, predictions, [name], parser)
