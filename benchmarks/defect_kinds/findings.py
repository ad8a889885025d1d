"""..."""
from __future__ import annotations

from defect_kinds.job import Kind

KINDS: list[Kind] = []
