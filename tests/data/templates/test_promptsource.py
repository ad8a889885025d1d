from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.templates.promptsource import (
    Applied,
    Template,
    TemplateCollection,
    dumps,
    find,
    import_folder,
    loads,
)
from tunesmith.errors import TemplateError

FILE = """\
dataset: weather
subset: daily
templates:
  11111111-0000-0000-0000-000000000000: !Template
    answer_choices: dry ||| wet
    id: 11111111-0000-0000-0000-000000000000
    jinja: "Will it rain? \\n{{report}} ||| {{ answer_choices[label] }}"
    metadata: &id001 !TemplateMetadata
      choices_in_prompt: null
      languages:
      - en
      metrics:
      - Accuracy
      original_task: true
    name: will it rain
    reference: ''
    task_template: true
  22222222-0000-0000-0000-000000000000: !Template
    answer_choices: null
    id: 22222222-0000-0000-0000-000000000000
    jinja: '{% if note %}Sum up: {{report}} ||| {{note}}{% endif %}'
    metadata: *id001
    name: sum up/short
    reference: made for this test
"""


def template(jinja: str, answer_choices: str | None = None) -> Template:
    return Template(
        id="t1", name="mine", jinja=jinja, answer_choices=answer_choices, source="tests"
    )


def error_of(made: Template, row: dict[str, Any]) -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        made.apply(row, row_id="r7")
    return caught.value


@pytest.fixture
def library(tmp_path: Path) -> Path:
    file = tmp_path / "weather" / "daily" / "templates.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(FILE, encoding="utf-8")
    return tmp_path


def test_a_file_with_an_alias_and_a_stray_key_is_kept_byte_for_byte() -> None:
    assert dumps(loads(FILE)) == FILE


def test_fields_are_read() -> None:
    collection = loads(FILE)
    first, second = collection.templates
    assert (collection.dataset, collection.subset, first.full_name) == (
        "weather",
        "daily",
        "weather/daily/will it rain",
    )
    assert (first.answer_choices, second.answer_choices) == ("dry ||| wet", None)
    assert first.extra == {"task_template": True}
    assert first.metadata["languages"] == ["en"]


def test_a_collection_made_in_code_loads_again() -> None:
    made = TemplateCollection("mine", (template("{{ä}} ||| b"),))
    again = loads(dumps(made))
    assert again.templates[0].jinja == "{{ä}} ||| b"
    assert dumps(again) == dumps(made)


@pytest.mark.parametrize(
    "text, part",
    [
        (
            "templates: {a: !!python/object/apply:os.system [ls]}",
            "could not determine a constructor",
        ),
        ("a: [", "not readable as YAML"),
        ("dataset: a", "no `templates` mapping"),
        ("templates: {a: {id: a}}", "is not a !Template"),
        ("templates: {a: !Template {id: a, name: b}}", "the template has no 'jinja'"),
        ("templates: {a: !Template [1]}", "!Template is not a mapping"),
    ],
)
def test_what_is_no_template_file_is_refused(text: str, part: str) -> None:
    with pytest.raises(TemplateError) as caught:
        loads(text, "here.yaml")
    assert caught.value.message.startswith("here.yaml")
    assert part in caught.value.message


def test_choices_are_rendered_first_and_stripped() -> None:
    made = template(
        "{{q}} ({{ answer_choices | join(', ') }}) ||| {{ answer_choices[i] }}", "{{a}} ||| {{b}}"
    )
    row = {"q": "Which?", "a": "left ", "b": "right", "i": 1}
    assert made.apply(row) == Applied("Which? (left, right)", ("right",), ("left", "right"))


def test_more_parts_are_more_targets() -> None:
    assert template("{{q}}{% for a in xs %} ||| {{a}}{% endfor %}").apply(
        {"q": "?", "xs": ["x", "y"]}
    ) == Applied("?", ("x", "y"))


def test_a_row_without_separator_is_left_out() -> None:
    made = loads(FILE).templates[1]
    assert made.apply({"report": "sun", "note": ""}) is None
    assert made.apply({"report": "sun", "note": "dry"}) == Applied("Sum up: sun", ("dry",))


def test_choices_that_hold_the_separator_stay_whole() -> None:
    made = template("{{ answer_choices[0] }}?|||{{ answer_choices[1] }}", "{{ xs | join('|||') }}")
    assert made.apply({"xs": ["a ||| b", "|c|"]}) == Applied(
        "a ||| b?", ("|c|",), ("a ||| b", "|c|")
    )


def test_errors_name_template_and_row() -> None:
    made = template("{{ text }} ||| {{ answer_choices[label] }}", "no ||| yes")
    missing = error_of(made, {"txt": "a", "label": 1})
    assert (
        str(missing)
        == "template 'tests/mine', row 'r7': no column 'text' in the row\nhint: did you mean 'txt'?"
    )
    assert "position -1" in error_of(made, {"text": "a", "label": -1}).message
    assert (
        "'1' (str) is used as the position" in error_of(made, {"text": "a", "label": "1"}).message
    )
    assert "the column 'text' is None" in error_of(made, {"text": None, "label": 1}).message


@pytest.mark.parametrize("target", ["", " \n"])
def test_an_empty_target_is_an_error(target: str) -> None:
    assert error_of(template("{{a}} ||| {{b}}"), {"a": "x", "b": target}).message.endswith(
        "the target is empty"
    )


def test_a_column_called_answer_choices_is_refused() -> None:
    assert (
        "a column is called 'answer_choices'"
        in error_of(template("a ||| b"), {"answer_choices": 1}).message
    )


def test_a_template_that_needs_choices_and_has_none_is_an_error() -> None:
    assert (
        "'answer_choices' is None"
        in error_of(template("{{a}} ||| {{ answer_choices[0] }}"), {"a": 1}).message
    )


def test_draws_depend_on_row_template_and_seed_only() -> None:
    made = template("{{ range(10**5) | choice }} ||| x")
    drawn = {
        (seed, row_id): made.apply({}, seed=seed, row_id=row_id)
        for seed in (0, 1)
        for row_id in ("a", "b")
    }
    assert len(set(drawn.values())) == 4
    assert made.apply({}, seed=1, row_id="b") == drawn[1, "b"]
    other = Template(id="t2", name="mine", jinja=made.jinja)
    assert other.apply({}, seed=1, row_id="b") != drawn[1, "b"]


def test_fit_to_reaches_the_prompt() -> None:
    made = template("{{ a | fit }} ||| {{ a }}")
    assert made.apply({"a": "one two"}, fit_to=4) == Applied("one", ("one two",))


def test_find_takes_name_or_id(library: Path) -> None:
    by_name = find("promptsource:weather/daily/will it rain", library)
    assert by_name == find("weather/daily/11111111-0000-0000-0000-000000000000", library)
    assert find("weather/daily/sum up/short", library).name == "sum up/short"


@pytest.mark.parametrize(
    "spec, message, hint",
    [
        (
            "weather/daily/will it rian",
            "weather/daily: no template 'will it rian'",
            "did you mean 'will it rain'?",
        ),
        ("wether/daily/x", "wether/daily/x: no such data set", "did you mean 'weather/daily'?"),
    ],
)
def test_find_names_the_nearest(library: Path, spec: str, message: str, hint: str) -> None:
    with pytest.raises(TemplateError) as caught:
        find(spec, library)
    assert caught.value.message.startswith(message)
    assert caught.value.hint == hint


def test_find_looks_in_the_named_or_the_imported_folder(
    library: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("TUNESMITH_PROMPTSOURCE", raising=False)
    with pytest.raises(TemplateError, match="no PromptSource templates here"):
        find("weather/daily/will it rain")
    assert import_folder(library, home / ".tunesmith" / "promptsource") == 2
    assert find("weather/daily/will it rain").id.startswith("1")
    monkeypatch.setenv("TUNESMITH_PROMPTSOURCE", str(library / "nowhere"))
    with pytest.raises(TemplateError, match="nowhere: no PromptSource templates here"):
        find("weather/daily/will it rain")


def test_nothing_is_imported_where_one_file_is_bad(library: Path, tmp_path: Path) -> None:
    bad = library / "zzz" / "templates.yaml"
    bad.parent.mkdir()
    bad.write_text("a: [")
    target = tmp_path / "target"
    with pytest.raises(TemplateError, match=r"zzz/templates\.yaml"):
        import_folder(library, target)
    assert not target.exists()


def test_importing_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"no templates\.yaml in this folder"):
        import_folder(tmp_path, tmp_path / "target")
