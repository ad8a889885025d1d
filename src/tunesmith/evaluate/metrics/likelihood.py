"""What a model finds likely: its pick among the choices, perplexity and bits per byte of the right
answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from tunesmith.errors import DataError
from tunesmith.evaluate.metrics.base import Answers, Metric, from_sums, per_example
from tunesmith.evaluate.statistics import Floats


def _pick_accuracy(answers: Answers, length: Callable[[str], int]) -> list[float]:
    """1 where the likeliest choice, per unit of `length`, is right; of equals the first."""
    scores = []
    for i, (example, prediction) in enumerate(
        zip(answers.examples, answers.predictions, strict=True)
    ):
        if not example.choices or len(prediction.choice_logprobs) != len(example.choices):
            raise DataError(
                f"{answers.where(i)}: {len(prediction.choice_logprobs)} likelihoods for {len(example.choices)} choices",
                hint="choice_acc needs a likelihood of every choice; leave it out for outputs of other tools",
            )
        pairs = zip(prediction.choice_logprobs, example.choices, strict=True)
        best = int(np.argmax([logprob / max(1, length(choice)) for logprob, choice in pairs]))
        scores.append(float(example.choices[best].strip() in answers.references[i]))
    return scores


def choice_acc(answers: Answers) -> list[float]:
    return _pick_accuracy(answers, lambda choice: 1)


def choice_acc_norm(answers: Answers) -> list[float]:
    """Log-likelihood per character, as lm-evaluation-harness's acc_norm."""
    return _pick_accuracy(answers, len)


def choice_acc_bytes(answers: Answers) -> list[float]:
    return _pick_accuracy(answers, lambda choice: len(choice.encode()))


def perplexity(nll_sums: Sequence[float], num_tokens: Sequence[int]) -> float:
    """exp of the mean negative log-likelihood (nats) of a token, each token the same weight."""
    return math.exp(sum(nll_sums) / sum(num_tokens))


def bits_per_byte(nll_sums: Sequence[float], num_bytes: Sequence[int]) -> float:
    """Negative log-likelihood in bits for each byte of UTF-8: comparable between tokenizers."""
    return sum(nll_sums) / (math.log(2) * sum(num_bytes))


def _reference_sums(answers: Answers) -> Floats:
    """rows_ND, D = 3: negative log-likelihood of the completion (nats, stop token included), its
    tokens, its bytes.
    """
    for i, prediction in enumerate(answers.predictions):
        if not prediction.reference_tokens:
            raise DataError(
                f"{answers.where(i)}: no likelihood of the right answer",
                hint="perplexity needs one; leave it out for outputs of other tools",
            )
    pairs = zip(answers.predictions, answers.examples, strict=True)
    rows = [
        [-p.reference_logprob, p.reference_tokens, len(e.completion.encode())] for p, e in pairs
    ]
    return np.array(rows, dtype=float)


def _perplexity(sums_RD: Floats) -> Floats:
    ratio: Floats = np.exp(sums_RD[:, 0] / sums_RD[:, 1])
    return ratio


def _bits_per_byte(sums_RD: Floats) -> Floats:
    bits: Floats = sums_RD[:, 0] / (math.log(2) * sums_RD[:, 2])
    return bits


def _likelihood(rows_ND: Floats) -> Floats:
    return -rows_ND[:, 0]


METRICS: dict[str, Metric] = {
    "choice_acc": per_example(choice_acc, binary=True),
    "choice_acc_norm": per_example(choice_acc_norm, binary=True),
    "choice_acc_bytes": per_example(choice_acc_bytes, binary=True),
    "perplexity": from_sums(
        _reference_sums, _perplexity, quality=_likelihood, unit="plain", higher_is_better=False
    ),
    "bits_per_byte": from_sums(
        _reference_sums, _bits_per_byte, quality=_likelihood, unit="plain", higher_is_better=False
    ),
}
