"""The one place where errors become messages: whatever a command raises, the user reads what is
wrong, a hint, and no traceback.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGINT

from tunesmith.errors import TunesmithError, is_disk_full, system_error
from tunesmith.ranks import is_leader, rank
from tunesmith.signals import Interrupted, exit_code, name_of, stopping_on_signals

RESUME_HINT = "`tunesmith resume FOLDER` continues a run that was prepared"
FULL_HINT = f"free some space; {RESUME_HINT}"


def guarded(command: Callable[[], object]) -> int:
    """The exit code of a command, every error of which is one message on stderr.

    1 for what fails under way, 2 for what a user can mend before any work (`InputError`), and 128 +
    its number for a signal.
    """
    _escape_what_cannot_be_encoded()
    code, unwritten = _outcome(command), _flush()
    if code or unwritten is None:
        return code
    if unwritten.errno == errno.EPIPE:  # `| head` has enough
        return 1
    return _tell(f"standard output: {unwritten.strerror}", 1)


def _outcome(command: Callable[[], object]) -> int:
    try:
        with stopping_on_signals():
            command()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except TunesmithError as error:
        return _tell(str(error), error.exit_code)
    except (Interrupted, KeyboardInterrupt) as signal:
        number = getattr(signal, "number", SIGINT)
        what = f"interrupted by {name_of(number)}"
        return _tell(f"{what}\nhint: {RESUME_HINT}", exit_code(number))
    except BrokenPipeError:
        return 1
    except MemoryError:
        return _tell("there is not enough memory\nhint: a smaller model, or fewer rows at once", 1)
    except Exception as error:
        found = system_error(error)
        return _tell(_of_the_system(found) if found else _unexpected(error), 1)
    return 0


def of_a_destructor(found: sys.UnraisableHookArgs) -> None:
    """Says nothing of a file that is closed while an error of its disk goes up, and fails again."""
    if not isinstance(found.exc_value, OSError):
        sys.__unraisablehook__(found)


def _tell(message: str, code: int) -> int:
    where = "" if is_leader() else f"rank {rank()}: "
    with suppress(OSError, AttributeError, ValueError):  # stderr is closed as well
        print(f"error: {where}{message}", file=sys.stderr, flush=True)
    return code


def _of_the_system(error: OSError) -> str:
    """An error of the operating system with the file it is about."""
    what = error.filename if error.filename is not None else "a file"
    if is_disk_full(error):
        return f"{what}: the disk is full\nhint: {FULL_HINT}"
    if error.errno == errno.EFBIG:
        grown = "a file would grow beyond what is allowed here"
        return f"{what}: {grown}\nhint: `ulimit -f` says how much"
    said = error.strerror or str(error) or type(error).__name__
    return f"{what}: {said}\nhint: is it there, and may this user read and write it?"


def _unexpected(error: Exception) -> str:
    """A mistake in tunesmith, or in a library: the traceback goes into a file that can be sent."""
    said = " ".join(str(error).split())[:300]
    kept = _keep_traceback()
    hint = f"please report it, with {kept}" if kept else "please report it"
    return (
        f"unexpected {type(error).__name__}: {said}\nhint: this is a mistake in tunesmith; {hint}"
    )


def _keep_traceback() -> Path | None:
    try:
        handle, name = tempfile.mkstemp(prefix="tunesmith-error-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(traceback.format_exc())
    except OSError:
        return None
    return Path(name)


def _flush() -> OSError | None:
    """Write all output; the error where that fails. Python would fail once more at its end, where
    nobody catches it, and so what is left is thrown away.
    """
    if sys.stdout is None:  # closed by who started us
        return None
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError, io.UnsupportedOperation):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def _escape_what_cannot_be_encoded() -> None:
    """In an ASCII locale a character that it lacks is written as an escape, and stops nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
