"""What all pages share: how their templates are filled, and how a policy names what may run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tunesmith.inert import inert

FOLDER = Path(__file__).parent


def page_environment(finalize: Callable[[Any], Any] | None = None) -> Environment:
    """Where the templates of pages are read; every text that they print is escaped, after
    `finalize`.
    """
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def spelled_out(value: object) -> object:
    """What is printed on a page made inert; our own markup has been made already."""
    return inert(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def csp_hash(text: str) -> str:
    """As a content security policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
