"""Chat templates under a budget: transformers' own environment, with every rendering metered.

A chat template is a program of whoever made the model. `apply_chat_template` compiles it with
transformers' function for that; ours takes its place, in the same environment with the same filters
and extensions, so that whatever renders a conversation in this process is metered.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import cast

import jinja2
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment
from transformers.utils import chat_template_utils

from tunesmith.jinja_budget import compile_template, put_under_budget

_theirs = chat_template_utils._compile_jinja_template


@cache
def _environment() -> SandboxedEnvironment:
    """Transformers' environment: it makes one for each template, and that of an empty one is
    ours.
    """
    environment = cast(SandboxedEnvironment, _theirs("").environment)
    put_under_budget(environment)
    return environment


def parse_chat_template(template: str) -> nodes.Template:
    """The syntax tree as transformers reads it, its extensions and white space included; jinja2's
    TemplateSyntaxError for none, and for one that is too long or nests too deeply.
    """
    return _environment().parse(template)


@lru_cache(maxsize=128)  # as theirs
def compile_chat_template(template: str) -> jinja2.Template:
    """What transformers renders; errors as from `parse_chat_template`, and OverBudget when it is
    rendered.
    """
    return compile_template(_environment(), parse_chat_template(template))


chat_template_utils._compile_jinja_template = compile_chat_template
