"""One process at a time writes into a folder.

The lock is a file beside the folder, `runs/.reviews.lock` for `runs/reviews`, so that a folder that
is still to appear can be locked as well. The kernel's lock on that file (flock) ends with its
process however that dies, and so decides between processes of one machine. Between machines that
share a disk it may not: the file therefore names process and host, and its owner touches it every
few seconds. A file of another host counts as long as it was touched lately.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tunesmith.errors import InputError

HEARTBEAT = 10.0
"""Seconds between two touches of the file."""
SILENCE = 120.0
"""Seconds without one after which the lock of another host is taken for a dead process's."""
_held: set[Path] = set()
"""Folders that this process has locked: its stages lock a run again inside a whole run."""


@dataclass(frozen=True)
class Owner:
    """Who has a folder: a process id, its host, and the time since the epoch, in seconds."""

    pid: int
    host: str
    since: float


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else is inside this for the same folder; the same process may be, further out.

    Raises InputError naming process and host where somebody is, or where the lock cannot be
    written.
    """
    place = folder.resolve()
    if place in _held:
        yield
        return
    path = lock_file(place)
    new_folders = [above for above in path.parents if not above.exists()]
    descriptor = _open(path, folder)
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(descriptor, stop), daemon=True)
    beating.start()
    _held.add(place)
    try:
        yield
    finally:
        _held.discard(place)
        stop.set()
        beating.join()
        path.unlink(missing_ok=True)  # while it is still ours
        os.close(descriptor)
        for above in new_folders:  # innermost first; one that has something in it stays
            with suppress(OSError):
                above.rmdir()


def lock_file(folder: Path) -> Path:
    """Beside the folder, or in it where what is above cannot be written to."""
    if folder.is_dir() and not os.access(folder.parent, os.W_OK | os.X_OK):
        return folder / ".lock"
    return folder.with_name(f".{folder.name}.lock")


def touched_lately(folder: Path) -> bool:
    """Whether a process is at work in the folder, for who only looks: the lock is not tried, as
    that would hold it for a moment.
    """
    try:
        age = time.time() - lock_file(folder.resolve()).stat().st_mtime
    except OSError:
        return False
    return age < 3 * HEARTBEAT


def _open(path: Path, folder: Path) -> int:
    """The lock file, locked and with our name in it."""
    try:
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                _take(descriptor, folder)
                if _is_still_there(descriptor, path):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its owner removed it between our opening and our locking it
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be locked: {error.filename or path}: {error.strerror}",
            hint="what is above a run folder must be a folder that can be written to",
        ) from error


def _take(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise _in_use(folder, _owner(descriptor)) from error
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise  # a file system without locks: the heartbeat alone has to do
    owner = _owner(descriptor)
    age = time.time() - os.fstat(descriptor).st_mtime
    if owner is not None and owner.host != socket.gethostname() and age < SILENCE:
        raise _in_use(folder, owner)
    text = json.dumps(asdict(Owner(os.getpid(), socket.gethostname(), time.time())))
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)


def _in_use(folder: Path, owner: Owner | None) -> InputError:
    who = f"process {owner.pid} on {owner.host}" if owner else "another process"
    return InputError(
        f"{folder}: {who} is at work there",
        hint="wait until it is done or stop it, or use another --output-dir (output_dir)",
    )


def _owner(descriptor: int) -> Owner | None:
    """What the file says; None where it is new or was cut off."""
    try:
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, TypeError):
        return None


def _is_still_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _beat(descriptor: int, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        with suppress(OSError):  # a disk that is away for a while: the next touch may succeed
            os.utime(descriptor)
