from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.lint.answer_leak import shown_column
from tunesmith.data.lint.findings import (
    LintTemplate,
    Rendered,
    from_library,
    from_promptsource,
    lint,
)
from tunesmith.data.lint.rules import RULES
from tunesmith.data.templates import resolve as templates
from tunesmith.data.templates.promptsource import Template
from tunesmith.recipe import DataConfig
from tunesmith.records import Finding, Row

REVIEWS = (
    {"review": "The lamp is bright and I like it.", "label": 1},
    {"review": "It broke.", "label": 0},
    {"review": "Good value.", "label": 1},
)


def findings(
    jinja: str, *rows: dict[str, Any], answer_choices: str | None = None, **options: int
) -> list[Finding]:
    template = Template(id="t", name="t", jinja=jinja, answer_choices=answer_choices)
    numbered = [
        Row(f"r{number}", row, f"rows.jsonl:{number}") for number, row in enumerate(rows, start=1)
    ]
    return lint([from_promptsource(template)], numbered, **options)


def rules(*args: Any, **kwargs: Any) -> list[str]:
    return [finding.name for finding in findings(*args, **kwargs)]


def only(found: list[Finding], rule: str) -> Finding:
    return next(finding for finding in found if finding.name == rule)


def test_a_clean_template_has_no_finding() -> None:
    jinja = "{{ review }}\nGood or bad? ||| {{ answer_choices[label] }}"
    assert findings(jinja, *REVIEWS, answer_choices="bad ||| good") == []


def test_a_missing_column_names_the_nearest_and_the_first_row_without_it() -> None:
    found = findings(
        "{{ text }} ||| {{ label }}", {"text": "a", "label": "x"}, {"txt": "b", "label": "y"}
    )
    assert only(found, "missing_column") == Finding(
        "missing_column",
        "error",
        "no column 'text'; did you mean 'txt'?",
        ("rows.jsonl:2",),
        template="t",
    )


def test_unused_columns_are_listed() -> None:
    found = findings("{{ a }} ||| {{ b }}", {"a": "1", "b": "2", "d": "3", "c": "4"})
    assert [(f.name, f.message) for f in found] == [
        ("unused_column", "columns that are not used: c, d")
    ]


@pytest.mark.parametrize(
    "jinja, glued",
    [
        ("{{ a }}nAnswer: ||| {{ b }}", "nAnswer"),
        ("Text{{ a }} ||| {{ b }}", "Text"),
        ("{{ a -}}  next ||| {{ b }}", "next"),
    ],
)
def test_a_literal_glued_to_a_slot(jinja: str, glued: str) -> None:
    found = findings(jinja, {"a": "x", "b": "y"})
    assert [(f.name, f.message) for f in found] == [
        ("glued_literal", f"{glued!r} is glued to a slot in line 1")
    ]


@pytest.mark.parametrize(
    "jinja",
    ["{{ a }}s, the {{ a }}th", '{{ "a" }}b {{ a }}', "Q{{ a }}.", "the\n{{ a }}", "${{ a }}"],
)
def test_endings_and_capital_letters_at_a_slot_are_fine(jinja: str) -> None:
    assert rules(jinja + " ||| {{ b }}", {"a": "x", "b": "y"}) == []


def test_single_braces_around_a_column() -> None:
    found = findings("{a} {{ a }} {z} ||| {{ b }}", {"a": "x", "b": "y"})
    assert [(f.name, f.message) for f in found] == [
        ("single_braces", "{a} has single braces and is printed as it stands")
    ]


def test_choices_that_are_never_used() -> None:
    found = findings("{{ a }} ||| {{ b }}", {"a": "x", "b": "no"}, answer_choices="no ||| yes")
    assert [(f.name, f.message) for f in found] == [
        ("unused_choices", "answer_choices is never used: 'no ||| yes'")
    ]


def test_a_row_that_cannot_be_rendered() -> None:
    jinja = "{{ review }} ||| {{ answer_choices[label] }}"
    found = findings(jinja, *REVIEWS, {"review": "x", "label": -1}, answer_choices="bad ||| good")
    assert [(f.name, f.rows) for f in found] == [("unrenderable_row", ("rows.jsonl:4",))]
    assert "the position -1 is outside a list of 2" in found[0].message
    assert found[0].message.endswith("(in 1 of 4 rows)")


def test_excluded_rows_are_counted() -> None:
    jinja = "{% if label %}{{ review }} ||| {{ review | length }}{% endif %}"
    found = findings(jinja, *REVIEWS)
    assert [(f.name, f.rows, f.message) for f in found] == [
        ("excluded_rows", ("rows.jsonl:2",), "nothing is rendered in 1 of 3 rows")
    ]


def test_a_constant_target() -> None:
    found = findings("{{ review }} {{ label }} ||| yes", *REVIEWS)
    assert [(f.name, f.message) for f in found] == [
        ("constant_target", "every target is 'yes' (3 rows)")
    ]


def test_one_row_alone_has_no_constant_target() -> None:
    assert rules("{{ review }} {{ label }} ||| yes", REVIEWS[0]) == []


def test_a_prompt_without_any_column_although_its_wording_is_drawn() -> None:
    jinja = "{{ ['Write', 'Compose', 'Invent'] | choice }} a review. ||| {{ review }} {{ label }}"
    assert "prompt_without_column" in rules(jinja, *REVIEWS)
    assert "prompt_without_column" not in rules(
        "Write a {{ label }} review. ||| {{ review }}", *REVIEWS
    )


def test_a_draw_that_reaches_the_target_alone() -> None:
    row = {"q": "Which?", "answers": ["a", "b", "c"]}
    found = findings("{{ q }} ||| {{ answers | choice }}", row)
    assert [(f.name, f.rows) for f in found] == [("random_target", ("rows.jsonl:1",))]
    assert found[0].message.startswith("one prompt draws the targets ")


def test_a_draw_that_the_prompt_shows_is_fine() -> None:
    jinja = (
        "{% set n = [1, 2, 3] | choice %}Repeat {{ n }} times: {{ q }} ||| "
        "{% for i in range(n) %}{{ q }}{% endfor %}"
    )
    assert "random_target" not in rules(jinja, {"q": "w"})


def test_the_answer_column_in_its_own_question() -> None:
    found = findings(
        "{{ title }}: {{ text }} Title? ||| {{ title }}", {"title": "Boats", "text": "They float."}
    )
    assert [(f.name, f.message) for f in found] == [
        ("target_in_prompt", "the column 'title' is in the prompt and in the target")
    ]


def test_an_answer_that_a_text_happens_to_contain_is_fine() -> None:
    assert rules("{{ text }} Who? ||| {{ who }}", {"text": "Ann fed the cat.", "who": "Ann"}) == []


def test_an_answer_among_its_options_is_fine_and_beside_them_is_not() -> None:
    row = {"q": "Where?", "options": ["here", "there"], "i": 1}
    listed = "{{ q }} {{ options | join(' or ') }} ||| {{ options[i] }}"
    assert rules(listed, row) == []
    assert rules("{{ options[i] }}: " + listed, row) == ["target_in_prompt"]


def test_a_label_printed_in_every_prompt() -> None:
    listed = (
        "{{ review }} {{ answer_choices | join(' or ') }}? {{ answer_choices[label] }} ||| "
        "{{ answer_choices[label] }}"
    )
    assert rules(listed, *REVIEWS, answer_choices="bad ||| good") == ["target_in_prompt"]


def test_the_same_prompt_with_different_targets() -> None:
    rows = ({"a": "x", "b": "1"}, {"a": "y", "b": "2"}, {"a": "x", "b": "3"})
    found = findings("{{ a }} ||| {{ b }}", *rows)
    assert found == [
        Finding(
            "conflicting_targets",
            "warning",
            "same prompt as rows.jsonl:1, targets '1' and '3'",
            ("rows.jsonl:3",),
            template="t",
        )
    ]


def test_a_target_that_is_no_choice() -> None:
    jinja = "{{ review }} {{ answer_choices | join(' ') }} ||| {{ answer_choices[label] }}!"
    found = findings(jinja, *REVIEWS, answer_choices="bad ||| good")
    assert [(f.name, f.message) for f in found] == [
        ("target_not_in_choices", "the target 'good!' is none of: bad, good (in 3 of 3 rows)")
    ]


def test_a_target_that_is_too_long() -> None:
    found = findings(
        "{{ a }} ||| {{ b }}", {"a": "x", "b": "one two three four"}, max_target_words=3
    )
    assert [(f.name, f.message) for f in found] == [
        ("long_target", "a target of 4 words in 1 of 1 rows")
    ]


def test_every_rule_has_a_test_that_fires_it() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [rule for rule in RULES if source.count(f'"{rule}"') == 0] == []


def test_every_rule_is_in_the_docs() -> None:
    docs = (Path(__file__).resolve().parents[3] / "docs" / "lint.md").read_text(encoding="utf-8")
    assert [
        rule for rule in RULES if docs.count(f"| {rule} |") != 2
    ] == []  # what it finds, and PromptSource's count


def test_source_rules_work_without_rows() -> None:
    assert rules("{{ a }}n ||| b", answer_choices="x ||| y") == ["glued_literal", "unused_choices"]


def test_our_own_templates_are_linted_with_their_columns_mapped() -> None:
    config = DataConfig(
        task="classify", columns={"text": "review", "label": "mark"}, labels=["bad", "good"]
    )
    rows = [
        Row(str(i), {"review": row["review"], "mark": row["label"]}, f"a:{i}")
        for i, row in enumerate(REVIEWS)
    ]
    loaded = templates.load_templates(config, list(rows[0].values))
    linted = [
        from_library(
            template, columns=config.columns, label_names=config.labels, choices=("bad", "good")
        )
        for template in loaded
    ]
    assert lint(linted, rows) == []
    missing = lint(linted, [Row("r9", {"reviews": "x", "mark": 0}, "a:9")])
    assert "no column 'review'; did you mean 'reviews'?" in [finding.message for finding in missing]


def test_a_template_of_any_kind_can_be_linted() -> None:
    made = LintTemplate(
        "mine", "{{ a }} ||| yes", lambda row, seed: Rendered(row.values["a"], "yes")
    )
    rows = [Row("1", {"a": "x"}, ""), Row("2", {"a": "y"}, "")]
    assert [finding.name for finding in lint([made], rows)] == ["constant_target"]


def test_the_shown_column_is_named_by_its_path() -> None:
    values = {"a": {"b": [{"c": "Ulm"}]}}

    def render(changed: dict[str, Any]) -> tuple[str, str, tuple[str, ...]]:
        city = changed["a"]["b"][0]["c"]
        return f"The city {city.upper()}?", city.lower(), ()

    assert (
        shown_column(values, "ulm", render) == ""
    )  # the target does not hold the value as it stands
    assert shown_column(values, "Ulm", render) == "a.b[0].c"


def test_words_that_are_answered_with_their_tags_are_no_leak() -> None:
    """A text of one word is in the prompt and in the answer, and has to be."""
    rows = [
        Row("1", {"tokens": ["Cork"], "tags": ["B-LOC"]}, "a:2"),
        Row("2", {"tokens": ["rain"], "tags": ["O"]}, "a:3"),
    ]
    [template] = templates.find_templates("tag/terse")
    assert lint([from_library(template, columns={})], rows) == []
