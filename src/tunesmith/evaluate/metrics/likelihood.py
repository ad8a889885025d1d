"""Metrics of likelihoods: the likeliest choice, perplexity, bits per byte.

The likeliest choice is found as lm-evaluation-harness does, by the tokens of the choice without a
stop token: of 'sports' and 'sports/tennis' the shorter one is then never less likely.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tunesmith.errors import DataError
from tunesmith.evaluate.metrics.base import Answers, Metric, of_sums, per_example
from tunesmith.evaluate.statistics import Floats


def _pick_accuracy(answers: Answers, length: Callable[[str], int]) -> list[float]:
    """1 where the likeliest choice, per unit of `length`, is right; of equals the first."""
    scores = []
    for i, (example, prediction) in enumerate(
        zip(answers.examples, answers.predictions, strict=True)
    ):
        logprobs = prediction.choice_logprobs_without_stop
        if not example.choices or len(logprobs) != len(example.choices):
            raise DataError(
                f"{answers.where(i)}: {len(logprobs)} likelihoods "
                f"for {len(example.choices)} choices",
                hint="choice_acc needs a likelihood of every choice; "
                "leave it out for outputs of other tools",
            )
        pairs = zip(logprobs, example.choices, strict=True)
        best = int(np.argmax([logprob / max(1, length(choice)) for logprob, choice in pairs]))
        scores.append(float(example.choices[best].strip() in answers.references[i]))
    return scores


def choice_acc(answers: Answers) -> list[float]:
    """1 where the choice with the highest log-likelihood is right, as lm-eval's acc."""
    return _pick_accuracy(answers, lambda choice: 1)


def choice_acc_norm(answers: Answers) -> list[float]:
    """The same by log-likelihood per character, as lm-eval's acc_norm."""
    return _pick_accuracy(answers, len)


def choice_acc_bytes(answers: Answers) -> list[float]:
    """The same by log-likelihood per byte of UTF-8, as lm-eval's acc_bytes."""
    return _pick_accuracy(answers, lambda choice: len(choice.encode()))


def _reference_sums(answers: Answers) -> Floats:
    """rows_ND, D = 3: the completion's negative log-likelihood in nats, its tokens, its bytes.

    The first two include the stop token.
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


def _tokens(rows_ND: Floats) -> Floats:
    return rows_ND[:, 1]


def _bytes(rows_ND: Floats) -> Floats:
    return rows_ND[:, 2]


def _perplexity(sums_RD: Floats) -> Floats:
    """The exponential of the mean negative log-likelihood of all tokens of all rows."""
    ratio: Floats = np.exp(sums_RD[:, 0] / sums_RD[:, 1])
    return ratio


def _bits_per_byte(sums_RD: Floats) -> Floats:
    """Negative log-likelihood in bits per byte of UTF-8: comparable between tokenizers."""
    bits: Floats = sums_RD[:, 0] / (math.log(2) * sums_RD[:, 2])
    return bits


def _likelihood(rows_ND: Floats) -> Floats:
    return -rows_ND[:, 0]


METRICS: dict[str, Metric] = {
    "choice_acc": Metric(
        "Accuracy of the likeliest choice",
        per_example(choice_acc),
        binary=True,
        parsers=("choice",),
        needs="choice_logprobs_without_stop",
    ),
    "choice_acc_norm": Metric(
        "Accuracy of the likeliest choice per character",
        per_example(choice_acc_norm),
        binary=True,
        parsers=("choice",),
        needs="choice_logprobs_without_stop",
    ),
    "choice_acc_bytes": Metric(
        "Accuracy of the likeliest choice per byte",
        per_example(choice_acc_bytes),
        binary=True,
        parsers=("choice",),
        needs="choice_logprobs_without_stop",
    ),
    "perplexity": Metric(
        "Perplexity of the right answer",
        _reference_sums,
        of_sums(_perplexity),
        quality=_likelihood,
        unit="plain",
        range=(1.0, math.inf),
        log_scale=True,
        weights=_tokens,
        higher_is_better=False,
        needs="reference_logprob",
        auxiliary=True,
    ),
    "bits_per_byte": Metric(
        "Bits per byte",
        _reference_sums,
        of_sums(_bits_per_byte),
        weights=_bytes,
        quality=_likelihood,
        unit="plain",
        range=(0.0, math.inf),
        higher_is_better=False,
        needs="reference_logprob",
        auxiliary=True,
    ),
}
