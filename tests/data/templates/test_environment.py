from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.templates.environment import (
    MARK,
    fitted_columns,
    make_environment,
    render,
    render_parts,
    used_columns,
)
from tunesmith.errors import TemplateError


def text_of(source: str, **values: Any) -> str:
    return render(source, values, rng_key="k")


def error_of(source: str, values: dict[str, Any]) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        render(source, values, rng_key="k", where="template 't', row 'r7'")
    return caught.value


def test_a_misspelt_column_names_the_nearest_one() -> None:
    error = error_of("{{ sentense }}", {"sentence": "a", "label": 1})
    assert error.message == "template 't', row 'r7': no column 'sentense' in the row"
    assert error.hint == "did you mean 'sentence'?"


def test_a_misspelt_field_names_the_nearest_column() -> None:
    error = error_of('{{ row["a-c"] }}', {"a-b": 1})
    assert (error.message, error.hint) == (
        "template 't', row 'r7': 'dict object' has no attribute 'a-c'",
        "did you mean 'a-b'?",
    )


@pytest.mark.parametrize(
    "source", ["{{ a }}", "{% if a %}x{% endif %}", "{% if a == 1 %}x{% endif %}", "{{ a|lower }}"]
)
def test_a_missing_column_is_never_silent(source: str) -> None:
    assert "no column 'a'" in error_of(source, {"b": 1}).message


@pytest.mark.parametrize(
    "source",
    ["{{ a }}", "{{ a|lower }}", "{{ a ~ '.' }}", "{{ [a]|join }}", "{{ a|int }}", "{{ [a] }}"],
)
def test_a_none_never_becomes_text(source: str) -> None:
    assert "the column 'a' is None" in error_of(source, {"a": None}).message


def test_a_none_inside_a_field_names_the_path() -> None:
    assert (
        "the column 'a.b[1]' is None"
        in error_of("{{ a.b|join }}", {"a": {"b": ["x", None]}}).message
    )


def test_a_none_can_be_tested_and_written_as_json() -> None:
    source = (
        "{{ a is none }} {{ a == None }} {{ 1 if a else 2 }} {{ a|default('z', true) }} "
        "{{ [a]|tojson }}"
    )
    assert text_of(source, a=None) == "True True 2 z [null]"


def test_an_append_that_would_print_none_is_an_error() -> None:
    assert "an expression is None" in error_of("{% set x = [] %}{{ x.append(1) }}", {}).message


def test_a_method_is_not_printed() -> None:
    assert (
        error_of("{{ a.items }}", {"a": {"b": 1}}).hint
        == 'a field of that name is reached by x["name"]'
    )


def test_nan_is_not_printed() -> None:
    assert "NaN" in error_of("{{ a }}", {"a": float("nan")}).message


@pytest.mark.parametrize("label", [-1, 2, -3])
def test_a_label_outside_the_list_is_an_error(label: int) -> None:
    assert (
        f"the position {label} is outside a list of 2"
        in error_of("{{ ['no', 'yes'][l] }}", {"l": label}).message
    )


def test_a_label_minus_one_of_zero_is_an_error_too() -> None:
    assert (
        "the position -1 is outside"
        in error_of("{{ ['no', 'yes'][stars - 1] }}", {"stars": 0}).message
    )


@pytest.mark.parametrize("label", ["1", 1.0])
def test_a_label_that_is_no_integer_is_an_error(label: Any) -> None:
    error = error_of("{{ ['no', 'yes'][l] }}", {"l": label})
    assert (
        f"{label!r} ({type(label).__name__}) is used as the position in a list of 2"
        in error.message
    )
    assert error.hint == "map the column to whole numbers from 0 to 1"


def test_a_constant_position_may_count_from_the_end() -> None:
    assert text_of("{{ ['no', 'yes'][-1] }}{{ a[-2] }}{{ a[true] }}", a=[1, 2]) == "yes12"


@pytest.mark.parametrize(
    "source, value",
    [
        ("{% if l == 1 %}a{% endif %}", "1"),
        ("{% if l != '1' %}a{% endif %}", 1),
        ("{{ l == 0 }}", "negative"),
    ],
)
def test_a_comparison_that_can_never_hold_is_an_error(source: str, value: Any) -> None:
    error = error_of(source, {"l": value})
    assert f"{value!r} ({type(value).__name__}) is compared with" in error.message


def test_comparisons_that_make_sense_pass() -> None:
    assert (
        text_of("{{ l == 1 }} {{ l != '' }} {{ b == 1 }} {{ s == 'x' }}", l=1, b=True, s="x")
        == "True True True True"
    )


def test_a_column_called_self_is_reached_through_row() -> None:
    assert text_of('{{ row["self"] }}', self="me") == "me"
    assert error_of("{{ self }}", {"self": 1}).hint == 'a column of that name is row["self"]'


def test_a_column_called_row_wins() -> None:
    assert text_of("{{ row }}", row="mine") == "mine"


def test_python_internals_are_out_of_reach() -> None:
    assert "SecurityError" in error_of("{{ ''.__class__.__mro__ }}", {}).message


def test_bad_jinja_names_the_line() -> None:
    assert error_of("a\n{% if %}", {}).message.startswith("template 't', row 'r7', line 2: ")


def test_lists_can_be_appended_to_and_the_row_stays_as_it_was() -> None:
    row = {"a": [1], "d": {"b": [2]}}
    assert (
        render(
            "{% set _ = a.append(3) %}{% set _ = d.b.append(4) %}{{ a }}{{ d.b }}", row, rng_key="k"
        )
        == "[1, 3][2, 4]"
    )
    assert row == {"a": [1], "d": {"b": [2]}}


def test_an_inline_if_without_else_prints_nothing() -> None:
    assert text_of("<{{ 'x' if a }}>", a=0) == "<>"


def test_most_frequent_gives_all_that_tie() -> None:
    assert text_of("{{ ['a', 'b', 'b', 'a', 'c'] | most_frequent }}") == "['a', 'b']"


def test_highlight_and_zip() -> None:
    assert text_of("{{ 'x' | highlight }}") == "<span style='color: #F08080'>x</span>"
    assert text_of("{% for a, b in zip([1, 2], 'xy') %}{{ a }}{{ b }}{% endfor %}") == "1x2y"


def test_draws_are_these_bytes_on_every_machine() -> None:
    # SHA-256 of b"k\x000", b"k\x001", ...: first eight bytes, big endian, modulo 26
    source = "{% for i in range(8) %}{{ 'abcdefghijklmnopqrstuvwxyz' | choice }}{% endfor %}"
    assert text_of(source) == "dyxenqei"
    script = (
        "from tunesmith.data.templates.environment import render; "
        f"print(render({source!r}, {{}}, rng_key='k'))"
    )
    for seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed},
            check=True,
        )
        assert printed.stdout.strip() == "dyxenqei"


def test_another_key_draws_otherwise() -> None:
    source = "{{ range(1000) | random }}"
    assert len({render(source, {}, rng_key=str(key)) for key in range(20)}) > 15


def test_choice_from_nothing_is_an_error() -> None:
    assert "choice from an empty list" in error_of("{{ a | choice }}", {"a": []}).message


def test_the_separator_of_the_template_splits_inside_if_and_for() -> None:
    source = "{% for a in xs %}{% if a %}{{ a }} ||| {% endif %}{% endfor %}z"
    assert render_parts(source, {"xs": [1, 0, 2]}, rng_key="k") == ["1", "2", "z"]
    assert render_parts("{{ xs | join('|||') }}", {"xs": ["p", "q"]}, rng_key="k") == ["p", "q"]


# what a user's cell may hold around the separator; nested, and ending in a bar
cells = st.text(alphabet="a| \n", max_size=8)


@settings(max_examples=60, deadline=None)
@given(cells, cells, cells)
def test_a_separator_in_a_value_never_splits(prompt: str, inner: str, target: str) -> None:
    source = "{{ p }}{{ n.x[0] }}|||{{ t }}"
    parts = render_parts(source, {"p": prompt, "n": {"x": [inner]}, "t": target}, rng_key="k")
    assert parts == [(prompt + inner).strip(), target.strip()]
    assert (
        render(source, {"p": prompt, "n": {"x": [inner]}, "t": target}, rng_key="k")
        == f"{prompt}{inner}|||{target}"
    )


def test_the_mark_cannot_be_spelt_by_stripping_or_case() -> None:
    assert (MARK.strip(), MARK.upper(), MARK.title()) == (MARK, MARK, MARK)


def test_nothing_is_cut_at_2048_characters() -> None:
    assert len(text_of("{{ a }}", a="word " * 1000)) == 5000


def test_fit_cuts_between_words_only_when_asked() -> None:
    source = "{{ a | fit }}!"
    cut = {
        limit: render(source, {"a": "one two three"}, rng_key="k", fit_to=limit)
        for limit in (13, 12, 8, 7, 6, 2)
    }
    assert cut == {
        13: "one two three!",
        12: "one two!",
        8: "one two!",
        7: "one two!",
        6: "one!",
        2: "on!",
    }
    assert text_of(source, a="one two three") == "one two three!"


def test_used_and_fitted_columns() -> None:
    source = (
        '{% set x = a %}{{ x }}{{ b | fit }}{{ row["c-d"] }}'
        "{% for i in range(e) %}{{ i }}{% endfor %}"
    )
    assert used_columns(source) == {"a", "b", "c-d", "e"}
    assert fitted_columns(source) == {"b"}


def test_make_environment_is_strict_and_sandboxed() -> None:
    environment = make_environment()
    assert environment.sandboxed
    assert "lipsum" not in environment.globals
