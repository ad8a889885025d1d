"""Checkpoints that are written while training goes on.

Of several processes each copies its part of the tensors, and torch's distributed checkpoints write
the copies in threads; steps go on meanwhile. A checkpoint exists when all ranks are done and it has
its name, which is looked for after each step. One at a time: the next one waits for it. A process
by itself writes its checkpoints at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tunesmith.distributed.group import together
from tunesmith.errors import TunesmithError
from tunesmith.train.state import Progress, Saving, Training, save


class Saves:
    """The checkpoints of a training; every rank calls each method after the same step."""

    def __init__(self, training: Training, progress: Progress) -> None:
        self._training, self._progress = training, progress
        self._saving: Saving | None = None

    def start(self) -> None:
        """Begin to write a checkpoint of this step, when the one before is there."""
        self.finish()
        self._saving = save(self._training, self._progress)
        if not together():
            self.finish()

    def is_writing(self) -> bool:
        """Whether this rank's part is still being written."""
        return self._saving is not None and not self._saving.is_written()

    def finish(self) -> None:
        """Wait until the checkpoint that was begun is there, if one was; remove those no longer
        needed.
        """
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.finish(self._training, self._progress)


@contextmanager
def saves(training: Training, progress: Progress) -> Iterator[Saves]:
    """All are there when the block ends, also by an error that every rank raises."""
    found = Saves(training, progress)
    try:
        yield found
    except TunesmithError:
        found.finish()
        raise
    found.finish()
