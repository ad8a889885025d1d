"""The likeliest of a row's choices as an answer.

A base model may know the right label and not know how to write it: asked for likelihoods it is a
stronger opponent than asked for text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tunesmith.records import Example, Prediction

LENGTHS: Mapping[str, Callable[[str], int]] = {
    "whole": lambda choice: 1,
    "per byte": lambda choice: max(1, len(choice.encode())),
}
"""By what the log-likelihood of a choice is divided."""


def can_rank(predictions: Sequence[Prediction]) -> bool:
    """Whether every prediction has the likelihoods of its choices."""
    return all(prediction.choice_logprobs for prediction in predictions)


def likeliest_predictions(
    examples: Sequence[Example], predictions: Sequence[Prediction], length: str
) -> list[Prediction]:
    """For each example its likeliest choice, of equals the first; `length` is one of LENGTHS."""
    divide = LENGTHS[length]

    def pick(example: Example, prediction: Prediction) -> str:
        pairs = zip(prediction.choice_logprobs, example.choices, strict=True)
        return example.choices[int(np.argmax([logp / divide(choice) for logp, choice in pairs]))]

    return [
        Prediction(example.id, pick(example, prediction), stopped=True, num_tokens=0)
        for example, prediction in zip(examples, predictions, strict=True)
    ]
