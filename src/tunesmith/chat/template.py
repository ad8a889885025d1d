"""A model's chat template made fit to be trained on and served: what the recipe pins, and what it
lacks.

What is trained must be what is served, and the saved template is the only authority for both. So
everything that a conversation depends on is written into the template before the first row is
rendered: the recipe's variables, the date that the template asks the clock for, a stop token after
each answer where it writes none, and, where the answer of a finished conversation does not follow
the generation prompt, a generation prompt that it does follow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from tunesmith.chat.syntax import asks_the_clock, clock_formats, variables
from tunesmith.errors import ModelError, RecipeError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}{{ ' ' + message['content'] + eos_token }}"
    "{%- else -%}{{ ('' if loop.first else '\n\n') + message['content'] }}"
    "{%- endif -%}{%- endfor -%}"
)
"""What a base model's tokenizer gets. It has no `{% generation %}` marks: plain Jinja refuses the
tag, and so does every renderer but transformers' (llama-cpp-python's, minijinja). Which tokens
are trained is known without them."""

OF_THE_CALL = (
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "strftime_now",
    "raise_exception",
)
ANSWER = "[[tunesmith:answer]]"

# White space: transformers' trim_blocks takes the line end after a tag away, so that the template
# begins on its own line as it did; `{%+` keeps lstrip_blocks from its last line.
_WITH_STOP = """{%%- set tunesmith = namespace(messages=[]) %%}
{%%- for message in messages %%}
{%%- if message['role'] == 'assistant' and not message['tool_calls'] %%}
{%%- set tunesmith.messages = tunesmith.messages + [\
dict(message, content=(message['content'] or '') + eos_token)] %%}
{%%- else %%}
{%%- set tunesmith.messages = tunesmith.messages + [message] %%}
{%%- endif %%}
{%%- endfor %%}
{%%- set messages = tunesmith.messages %%}
%s"""
_BEHIND_HEADER = """{%%- set tunesmith_asks = \
add_generation_prompt is defined and add_generation_prompt %%}
{%%- if tunesmith_asks %%}
{%%- set messages = messages + [{'role': 'assistant', 'content': '%(answer)s'}] %%}
{%%- endif %%}
{%%- set add_generation_prompt = false %%}
{%%- set tunesmith_text %%}
%(template)s{%%+ endset %%}
{{- tunesmith_text.rsplit('%(answer)s', 1)[0] if tunesmith_asks else tunesmith_text }}"""


@dataclass(frozen=True)
class ChatSettings:
    """What a recipe says of the chat template: a file in place of the model's own, and values for
    its variables.
    """

    template: str | None = None
    variables: Mapping[str, object] = field(default_factory=dict)


def chosen_template(tokenizer: PreTrainedTokenizerBase, settings: ChatSettings) -> str | None:
    """The recipe's template, or the tokenizer's; several by name (`default`, `tool_use`) become one
    that chooses as transformers does. RecipeError for a file that is none.
    """
    if settings.template is not None:
        try:
            return Path(settings.template).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(
                f"chat_template = {settings.template!r}: cannot be read: {error}"
            ) from error
    found = tokenizer.chat_template
    if not isinstance(found, dict):
        return found or None
    if "default" not in found:
        raise ModelError(
            f"{tokenizer.name_or_path}: several chat templates ({', '.join(sorted(found))}) and "
            f"none is the default",
            hint="set chat_template to a file with the one to use",
        )
    if "tool_use" not in found:
        return str(found["default"])
    return f"{{%- if tools %}}\n{found['tool_use']}{{%+ else %}}\n{found['default']}{{%+ endif %}}"


def pinned(template: str, values: Mapping[str, object], now: datetime) -> tuple[str, list[str]]:
    """The template with these variables set and its clock stopped, and what to tell the user.

    RecipeError for a variable that the template does not read; ModelError for a template that is
    not Jinja.
    """
    try:
        known = variables(template)
    except jinja2.TemplateError as error:
        raise ModelError(f"the chat template is not readable as Jinja: {error}") from error
    for name in values:
        if name in OF_THE_CALL or name not in known:
            raise RecipeError(
                f"chat_template_kwargs: the chat template reads no variable {name!r}",
                hint=did_you_mean(name, others)
                if (others := known - set(OF_THE_CALL))
                else "it reads none itself",
            )
    lines = [f"{{%- set {name} = {_literal(value)} %}}\n" for name, value in values.items()]
    notes = [
        f"chat_template_kwargs: {name} = {value!r} is pinned in the saved chat template"
        for name, value in values.items()
    ]
    if asks_the_clock(template):
        dates = {form: now.strftime(form) for form in clock_formats(template)}
        lines.append(_stopped_clock(dates, now))
        shown = ", ".join(dates.values()) or now.date().isoformat()
        notes.append(f"the chat template asks for the date: {shown} is pinned in the saved one")
    return "".join(lines) + template, notes


def _stopped_clock(dates: Mapping[str, str], now: datetime) -> str:
    """A macro in place of the function; a format that is not written out in the template gets the
    ISO date.
    """
    cases = [
        f"form == {_literal(form)} %}}{{{{- {_literal(date)} }}}}{{%- elif "
        for form, date in dates.items()
    ]
    otherwise = f"true %}}{{{{- {_literal(now.date().isoformat())} }}}}{{%- endif %}}"
    return (
        f"{{%- macro strftime_now(form) %}}{{%- if {''.join(cases)}{otherwise}{{%- endmacro %}}\n"
    )


def with_stop_token(template: str) -> str:
    """The same template writing the end-of-sequence token after each answer's text."""
    return _WITH_STOP % template


def behind_header(template: str) -> str:
    """The same template whose generation prompt is all that it writes before the answer of a
    finished conversation.
    """
    body = template.removesuffix("\n")  # which Jinja drops at a template's end, and only there
    return _BEHIND_HEADER % {"answer": ANSWER, "template": body}


def _literal(value: object) -> str:
    """A Jinja expression for a value of YAML."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(f"{_literal(str(key))}: {_literal(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)
