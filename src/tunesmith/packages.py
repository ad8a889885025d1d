"""Optional packages: whether one is there, without importing it."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def installed(package: str) -> bool:
    if package in sys.modules:  # find_spec does not answer for a module that was put there by hand
        return sys.modules[package] is not None
    return find_spec(package) is not None
