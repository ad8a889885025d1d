"""Whether an optional package is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def installed(package: str) -> bool:
    """Without importing it, which for torchao or vllm takes seconds."""
    if package in sys.modules:  # find_spec raises for a module that a test put there
        return sys.modules[package] is not None
    return find_spec(package) is not None
