"""The likeliest of a row's choices as an answer.

A base model may know the right label and not know how to write it: asked for likelihoods it is a
stronger opponent than asked for text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from tunesmith.records import Example, Prediction

Scores: TypeAlias = Callable[[Example, Prediction], Sequence[float]]


def _per_byte(example: Example, prediction: Prediction) -> list[float]:
    pairs = zip(prediction.choice_logprobs_without_stop, example.choices, strict=True)
    return [logprob / max(1, len(choice.encode())) for logprob, choice in pairs]


RANKINGS: Mapping[str, Scores] = {
    "whole": lambda example, prediction: prediction.choice_logprobs,
    "without stop": lambda example, prediction: prediction.choice_logprobs_without_stop,
    "per byte": _per_byte,
}
"""By which likelihoods the choices can be ranked: as an answer that ends, as text that may go on
(lm-evaluation-harness's acc), and by byte of that (its acc_bytes)."""


def can_rank(predictions: Sequence[Prediction]) -> bool:
    """Whether every prediction has the likelihoods of its choices."""
    return all(
        prediction.choice_logprobs and prediction.choice_logprobs_without_stop
        for prediction in predictions
    )


def likeliest_predictions(
    examples: Sequence[Example], predictions: Sequence[Prediction], ranking: str
) -> list[Prediction]:
    """For each example its likeliest choice, of equals the first; `ranking` is one of RANKINGS."""
    scores = RANKINGS[ranking]
    return [
        Prediction(
            example.id,
            example.choices[int(np.argmax(scores(example, prediction)))],
            stopped=True,
            num_tokens=0,
        )
        for example, prediction in zip(examples, predictions, strict=True)
    ]
