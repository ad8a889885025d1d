"""Rows made from a template's source suit what the template does with each column."""

from __future__ import annotations

from tunesmith.data.lint.synthetic_rows import made_rows


def test_each_column_gets_what_the_template_does_with_it() -> None:
    source = """{{ text }} {{ ["no", "yes"][label] }} {% for x in items %}{{ x.name }}{% endfor %}
        {{ answers.text | choice }} {% if kind == "a" %}{% endif %} {{ a | lower }}{{ n + 1 }}
        {{ row["b-c"] }}"""
    row = made_rows(source, count=1)[0]
    assert row["text"] == "text: the small red boat"
    assert row["label"] == 0
    assert [list(item) for item in row["items"]] == [["name"]] * 3
    assert len(row["answers"]["text"]) == 3
    assert row["kind"] == "a"
    assert row["a"] == "a: the small red boat"
    assert row["n"] == 0
    assert row["b-c"] == "row b-c: the small red boat"


def test_rows_take_the_compared_constants_and_one_other_value_in_turn() -> None:
    values = [
        row["kind"]
        for row in made_rows("{% if kind == 'a' or kind in ['b'] %}{% endif %}", count=3)
    ]
    assert values == ["a", "b", "kind: seven grey herons"]


def test_a_list_is_long_enough_for_its_constant_positions() -> None:
    assert len(made_rows("{{ xs[4] }}", count=1)[0]["xs"]) == 5


def test_an_answer_that_is_looked_up_is_in_its_list() -> None:
    row = made_rows("{{ options.text[options.label.index(answer)] }}", count=1)[0]
    assert row["answer"] in row["options"]["label"]


def test_names_the_template_sets_are_no_columns() -> None:
    assert set(
        made_rows("{% set x = a %}{{ x }}{{ answer_choices[0] }}{{ range(2) }}", count=1)[0]
    ) == {"a"}


def test_the_same_source_gives_the_same_rows() -> None:
    assert made_rows("{{ a }}{{ b[0] }}") == made_rows("{{ a }}{{ b[0] }}")
