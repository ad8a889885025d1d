"""No template and no chat template can loop for ever or fill the memory, and usual ones are not
touched.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest
from hostile_templates import HOSTILE
from jinja2.sandbox import SandboxedEnvironment
from support import byte_tokenizer, plain_chat

from tunesmith import jinja_budget
from tunesmith.chat.budget import compile_chat_template, parse_chat_template
from tunesmith.chat.format import MOST_OVER_BUDGET, ChatFormat, chat_format, complete_tokenizer
from tunesmith.data.templates.environment import render
from tunesmith.data.tokenize import Rejected, tokenize_examples
from tunesmith.errors import TemplateError
from tunesmith.jinja_budget import (
    MAX_SOURCE,
    STEPS,
    OverBudget,
    compile_template,
    put_under_budget,
)
from tunesmith.records import Example, TokenizedExample, Unserved

OVER = r"(takes more steps|calls itself|whole number of more than|is a word of jinja)"


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of the budget, so that the tests take a twentieth of the time."""
    monkeypatch.setattr(jinja_budget, "STEPS", STEPS // 20)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_stopped(name: str) -> None:
    with pytest.raises(TemplateError, match=f"^row 7: .*{OVER}"):
        render(HOSTILE[name], {"text": "a"}, rng_key="k", where="row 7")


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_chat_template_is_stopped(name: str) -> None:
    template = compile_chat_template(HOSTILE[name])
    with pytest.raises(OverBudget, match=OVER):
        template.render(messages=[])


@pytest.mark.slow
def test_stopping_needs_little_memory() -> None:
    """All of them in a process of its own, which could not have the memory that they ask for."""
    code = (
        "from hostile_templates import HOSTILE\n"
        "from tunesmith.data.templates.environment import render\n"
        "from tunesmith.errors import TemplateError\n"
        "for template in HOSTILE.values():\n"
        "    try: print(render(template, {}, rng_key='k')[:9])\n"
        "    except TemplateError as error: assert 'needs more memory' not in error.message\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join([str(Path(__file__).parent), *sys.path])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
    )
    assert (found.returncode, found.stdout, found.stderr[-300:]) == (0, "", "")


@pytest.mark.parametrize(
    "source",
    ["{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "{{ x" + ".a" * 5000 + " }}",
     "{% if x %}" * 300 + "{% endif %}" * 300, "{{ " + "9" * 5000 + " }}", "x" * (MAX_SOURCE + 1)],
    ids=["brackets", "attributes", "ifs", "digits", "length"],
)  # fmt: skip
def test_a_template_that_cannot_be_compiled_is_one_error(source: str) -> None:
    with pytest.raises(TemplateError):
        render(source, {"x": 1}, rng_key="k")
    with pytest.raises(jinja2.TemplateSyntaxError):
        compile_chat_template(source)


def test_a_turn_of_a_loop_and_a_call_cost_what_is_said() -> None:
    """500,000 turns of 20 steps are the whole budget; one more is too many."""
    turns = "{% for i in range(x) %}{% for j in range(1000) %}{% endfor %}{% endfor %}"
    environment = SandboxedEnvironment()
    put_under_budget(environment)
    template = compile_template(environment, environment.parse(turns))
    assert STEPS == 500_000 * 20
    assert template.render(x=490) == ""
    with pytest.raises(OverBudget):
        template.render(x=500)


def test_a_large_row_may_take_more_steps() -> None:
    """11 MB of text are above the budget, but they are the row's own."""
    text = "ab " * 4_000_000
    assert render("{{ text | trim }}", {"text": text}, rng_key="k") == text.strip()


def test_budgets_do_not_add_up_over_rows() -> None:
    source = "{% for i in range(90000) %}{% endfor %}{{ text }}"
    assert [render(source, {"text": "a"}, rng_key="k") for _ in range(8)] == ["a"] * 8


USUAL = (
    "{% for m in messages | selectattr('role', 'eq', 'user') | list %}{{ m.content | trim }}"
    "{% if not loop.last %}, {% endif %}{% endfor %}{{ (messages | length) * 2 + 1 }} "
    "{{ '%s-%d' % ('a', 3) }} {{ 'x' ~ 1 }} {{ ['b', 'a'] | sort | join('/') }} "
    "{{ messages[0]['content'][1:] | replace('e', 'E') | title }} {{ messages[1:] | tojson }}"
    "{% set n = namespace(total=0) %}{% for i in range(3) if i %}{% set n.total = n.total + i %}"
    "{% endfor %} {{ n.total }} {{ 2 ** 5 % 7 }} {{ 'role' in messages[0] }}"
    "{% for a in [[1, [2]]] recursive %}{{ a if a is number else loop(a) }}{% endfor %}"
)


def test_what_templates_usually_do_gives_what_jinja_gives() -> None:
    messages = [{"role": "user", "content": " one "}, {"role": "user", "content": "two"}]
    plain = SandboxedEnvironment()
    metered = SandboxedEnvironment()
    put_under_budget(metered)
    expected = plain.from_string(USUAL).render(messages=messages)
    found = compile_template(metered, metered.parse(USUAL)).render(messages=messages)
    assert found == expected
    assert found.startswith("one, two5 a-3 x1 a/b One ")


def test_apply_chat_template_is_metered() -> None:
    tokenizer = byte_tokenizer(chat_template=HOSTILE["a loop in a loop"])
    with pytest.raises(OverBudget):
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    with pytest.raises(TemplateError, match=r"^the chat template takes more steps") as caught:
        complete_tokenizer(tokenizer)
    assert caught.value.hint == "set chat_template to a file with a template that is known to work"


def chat_with_a_bomb() -> ChatFormat:
    """Takes too many steps for a row with the word boom."""
    plain = plain_chat().tokenizer.chat_template
    bomb = (
        "{% if 'boom' in messages[0]['content'] | upper | lower %}{{ 'a' * 10 ** 10 }}{% endif %}"
    )
    tokenizer = byte_tokenizer(chat_template=bomb + plain)
    complete_tokenizer(tokenizer)
    return chat_format(tokenizer)


def row(number: int, text: str) -> Example:
    return Example(f"r{number}", f"r{number}", "t", text, "yes", source=f"rows.csv:{number}")


def test_a_row_that_a_chat_template_takes_too_long_for_is_rejected_and_others_are_not() -> None:
    chat = chat_with_a_bomb()
    rows = [row(2, "fine"), row(3, "boom"), row(4, "fine")]
    fine, boom, also_fine = tokenize_examples(rows, chat, max_length=100)
    assert isinstance(fine, TokenizedExample)
    assert isinstance(also_fine, TokenizedExample)
    assert isinstance(boom, Rejected)
    assert (boom.example_id, boom.reason) == ("r3", "chat_template")
    assert boom.detail.startswith("the chat template takes more steps than a rendering may")
    assert chat.prompts(rows)[1] == Unserved(boom.detail)


def test_a_chat_template_that_takes_too_long_for_many_rows_stops_the_work() -> None:
    """Twenty of the rows that are written together are rejected; the next one is named."""
    chat = chat_with_a_bomb()
    rows = [row(i, "boom") for i in range(2, 2 + MOST_OVER_BUDGET)]
    assert all(isinstance(found, Unserved) for found in chat.written(rows))
    with pytest.raises(TemplateError) as caught:
        chat.written([row(1, "fine"), *rows, row(22, "boom")])
    assert str(caught.value) == (
        "rows.csv:22: the chat template takes more steps than a rendering may, or makes too large "
        "a text, as for 20 of the 21 rows before it\n"
        "hint: set chat_template to a file with a template that is known to work"
    )


def test_a_chat_template_is_read_as_transformers_reads_it() -> None:
    tree = parse_chat_template("{% generation %}{{ x }}{% endgeneration %}{% break %}\n")
    assert [type(node).__name__ for node in tree.body] == ["CallBlock", "Break"]
