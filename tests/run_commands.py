"""Several commands of tunesmith in one fresh process: a JSON list of argument lists in, what became
of each out.

The last line of stdout is JSON: for each command its exit code and message, and what is left on
stdin.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tunesmith.cli import app
from tunesmith.errors import TunesmithError


def outcome(args: list[str]) -> tuple[int, str]:
    try:
        code: Any = app(args, standalone_mode=False)
    except TunesmithError as error:
        return error.exit_code, str(error)
    except SystemExit as stop:
        code = stop.code
    return int(code or 0), ""


found = [outcome(args) for args in json.loads(sys.argv[1])]
print(json.dumps({"found": found, "stdin": sys.stdin.read()}))
