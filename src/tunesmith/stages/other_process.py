"""What another process of the same Python answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tunesmith.errors import RunError


def answer_of(
    arguments: list[str],
    failed: str,
    asked: object = None,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """The last line that Python writes to stdout with these arguments, from JSON; `asked` is on its
    stdin, as JSON.

    Raises RunError, `failed` and the last line of what it says, where it ends with an error.
    """
    done = subprocess.run(
        # -P: a script's own folder, tunesmith's, must not stand for other packages
        [sys.executable, "-P", *arguments],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RunError(f"{failed}: {said[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
