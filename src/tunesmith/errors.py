"""Every error a user can meet.

TunesmithError            message, then `hint: ...`
├── InputError            exit code 2: found before any work started
│   ├── RecipeError       a key or value of the recipe
│   ├── DataError         a file, a row, a split
│   ├── TemplateError     a prompt template, or a row it cannot render
│   └── ModelError        a model folder or tokenizer that cannot be used
└── RunError              exit code 1: a run that had started and failed
    ├── TrainingError     a full disk, no usable checkpoint
    │   └── BadLossError  a loss that is not finite or explodes
    └── InterruptedRun    Ctrl-C, SIGTERM or SIGUSR1; exit code 128 + the signal's number
"""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable

from tunesmith.inert import inert_line


class TunesmithError(Exception):
    """A message of one line and, where there is a remedy, a hint.

    Both may quote a stranger's text, so both are made inert here, once for every error.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = inert_line(message)
        self.hint = inert_line(hint)
        super().__init__(f"{self.message}\nhint: {self.hint}" if hint else self.message)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as it was made: another process shows the same two lines."""
        return type(self), (self.message, self.hint), self.__dict__


class InputError(TunesmithError):
    """Bad usage, recipe, data or model, found before any work started."""

    exit_code = 2


class RecipeError(InputError):
    """A key or value of the recipe, or two that contradict each other."""


class DataError(InputError):
    """A file that cannot be read, a row that cannot be used, a split that cannot be made."""


class TemplateError(InputError):
    """A prompt template with a mistake in it, or a row that it cannot render."""


class ModelError(InputError):
    """A model folder or tokenizer that cannot be used."""


class RunError(TunesmithError):
    """A run that had started and failed."""

    exit_code = 1


class TrainingError(RunError):
    """A full disk, no usable checkpoint, or a bad loss."""


class BadLossError(TrainingError):
    """A loss that is not finite or explodes: with another learning rate it may not."""


class InterruptedRun(RunError):
    """A signal asked a stage to stop, and it did; the message says what is saved."""

    def __init__(self, message: str, hint: str = "", exit_code: int = 130) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


def is_disk_full(error: BaseException) -> bool:
    """Whether a disk or a quota ran full, also where a library tells of it in words only."""
    found = system_error(error)
    return found is not None and found.errno in (errno.ENOSPC, errno.EDQUOT)


def system_error(error: BaseException) -> OSError | None:
    """The error of the operating system that an exception is, or that it tells of in words.

    safetensors, tokenizers and torch raise errors of their own, with the number in the text: `(os
    error 5)`, `Os { code: 28 ...`, `unable to open file <model.safetensors> in ... (13)`.
    """
    if isinstance(error, OSError):
        return error
    opened = re.match(r"unable to open file <([^>]*)> .*\((\d+)\)$", str(error))
    if opened:
        return OSError(int(opened[2]), os.strerror(int(opened[2])), opened[1])
    number = re.search(r"\(os error (\d+)\)|Os \{ code: (\d+)", str(error))
    if number is None:
        words = "No space left" in str(error)
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if words else None
    code, path = int(number[1] or number[2]), re.search(r'at path "([^"]+)"', str(error))
    return OSError(code, os.strerror(code), path[1] if path else None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the known word closest to `name`, or lists them all if none is close.

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
