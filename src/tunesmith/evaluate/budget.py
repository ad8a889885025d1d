"""How many validation rows can be answered after an epoch, counted in tokens.

Not in seconds: a run that was killed and goes on must answer the same rows as one that was not.
"""

from __future__ import annotations

SHARE = 0.2  # of an epoch's training, at most
MIN_ROWS = 16  # fewer cannot tell epochs apart
# training on a token takes three forward passes: forward, and the gradients of inputs and of
# weights
STEP = 3
DECODED = 4  # a token that is written costs as much as this many that are read


def affordable_rows(
    training_tokens: int, prompt_tokens: float, answer_tokens: float, num_choices: float, most: int
) -> int:
    """Rows whose answers take at most a fifth of an epoch over `training_tokens`; at least 16, at
    most `most`.

    The other numbers are means of a validation row, tokens that all rows begin with left out.
    Ranking `num_choices` choices reads the prompt and each of them.
    """
    ranking = prompt_tokens + num_choices * answer_tokens if num_choices else 0.0
    row = max(1.0, prompt_tokens + DECODED * answer_tokens + ranking)
    return min(most, max(MIN_ROWS, int(SHARE * STEP * training_tokens / row)))
