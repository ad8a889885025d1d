"""Small things many tests share: a tiny tokenizer, tiny models, and where shared data may lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
