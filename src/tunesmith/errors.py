"""Every error a user can meet.

TunesmithError            message, then `hint: ...`
├── InputError            exit code 2: found before any work started
│   ├── RecipeError       a key or value of the recipe
│   ├── DataError         a file, a row, a split
│   ├── TemplateError     a prompt template, or a row it cannot render
│   └── ModelError        a model folder or tokenizer that cannot be used
└── RunError              exit code 1: a run that had started and failed
    ├── TrainingError     NaN loss, a full disk, no usable checkpoint
    └── InterruptedRun    Ctrl-C, after the last step was saved
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TunesmithError(Exception):
    """A message of one line and, where there is a remedy, a hint."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message}\nhint: {hint}" if hint else message)


class InputError(TunesmithError):
    exit_code = 2


class RecipeError(InputError):
    pass


class DataError(InputError):
    pass


class TemplateError(InputError):
    pass


class ModelError(InputError):
    pass


class RunError(TunesmithError):
    exit_code = 1


class TrainingError(RunError):
    pass


class InterruptedRun(RunError):
    exit_code = 130


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or lists them when none is near.

    >>> did_you_mean("colums", ["columns", "source"])
    "did you mean 'columns'?"
    """
    options = sorted(str(k) for k in known)
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    shown = ", ".join(options[:30]) + (
        f", ... ({len(options)} in all)" if len(options) > 30 else ""
    )
    return f"known: {shown}" if options else "there is nothing of that kind here"
