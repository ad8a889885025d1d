"""Which templates a recipe asks for, and the words of every refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.templates.render import render_row
from tunesmith.data.templates.resolve import PromptTemplate, load_templates
from tunesmith.errors import TemplateError
from tunesmith.recipe import DataConfig
from tunesmith.records import Example, Row

AG_NEWS = """dataset: ag_news
templates:
  11111111-1111-1111-1111-111111111111: !Template
    answer_choices: World ||| Sports
    id: 11111111-1111-1111-1111-111111111111
    jinja: '{{text}} Which section? ||| {{answer_choices[label]}}'
    metadata: !TemplateMetadata
      choices_in_prompt: false
      languages: [en]
      metrics: [Accuracy]
      original_task: true
    name: section
    reference: ''
  22222222-2222-2222-2222-222222222222: !Template
    answer_choices: null
    id: 22222222-2222-2222-2222-222222222222
    jinja: 'Shorten: {{text}} ||| {{title}}'
    metadata: !TemplateMetadata
      choices_in_prompt: null
      languages: [en]
      metrics: [ROUGE]
      original_task: true
    name: shorten
    reference: ''
"""


@pytest.fixture
def ag_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ag_news").mkdir()
    (tmp_path / "ag_news" / "templates.yaml").write_text(AG_NEWS, encoding="utf-8")
    monkeypatch.setenv("TUNESMITH_PROMPTSOURCE", str(tmp_path))


def load(table: str = "text label", **data: Any) -> list[PromptTemplate]:
    return load_templates(DataConfig(**data), table.split())


def refusal(table: str = "text label", **data: Any) -> str:
    with pytest.raises(TemplateError) as caught:
        load(table, **data)
    return str(caught.value)


def test_a_task_gives_its_default_wording() -> None:
    [template] = load(task="classify")
    assert (template.name, template.family, template.parser) == (
        "classify/default",
        "classify",
        "choice",
    )
    assert template.metrics == ("accuracy", "macro_f1")
    assert [name for name, _ in template.slots] == ["text", "label", "choices"]


@pytest.mark.parametrize(
    "data",
    [
        {"task": "classify/terse"},
        {"template": "classify/terse"},
        {"task": "classify", "template": "terse"},
        {"task": "classify", "template": "classify/terse"},
    ],
)
def test_one_wording_is_named_in_task_or_template(data: dict[str, str]) -> None:
    assert [template.name for template in load(**data)] == ["classify/terse"]


def test_several_wordings_come_with_the_held_out_ones_and_without_inverted_ones() -> None:
    templates = load(task="classify", wordings=3)
    assert [t.name for t in templates if not t.held_out] == [
        "classify/default", "classify/plain", "classify/question",
    ]  # fmt: skip
    assert [t.name for t in templates if t.held_out] == [
        "classify/unseen_editor", "classify/unseen_after", "classify/unseen_form",
    ]  # fmt: skip
    assert not any(t.inverted for t in load(task="classify", wordings=11))


def test_an_inverted_wording_is_free_text() -> None:
    [template] = load(task="classify/write_from_label")
    assert (template.parser, template.metrics, template.inverted) == (
        "text",
        ("rougeL", "chrf"),
        True,
    )


def test_inline_text_is_free_text_until_labels_are_declared() -> None:
    [free] = load("review mood", template="{{ review }} ||| {{ mood }}")
    assert (free.name, free.family, free.parser) == ("inline", "free", "text")
    [choice] = load(
        "review mood",
        template="{{ review }} ||| {{ label }}",
        columns={"label": "mood"},
        labels=["a", "b"],
    )
    assert (choice.parser, choice.metrics) == ("choice", ("accuracy", "macro_f1"))


def test_inline_text_with_a_task_takes_its_slots_parser_and_metrics() -> None:
    [template] = load("text number", task="score", template="{{ text }}? ||| {{ number }}")
    assert (template.family, template.parser, template.metrics) == (
        "score",
        "number",
        ("mae", "spearman", "exact_match"),
    )
    assert {name: slot.type for name, slot in template.slots} == {
        "text": "text",
        "number": "number",
    }


def test_a_file_of_the_users_is_a_family_with_new_slots(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "family: mine\nabout: mine\nmetrics: [mae]\nparser: number\n"
        "slots: {city: {type: text}, rain: {type: number}, "
        "year: {type: date, required: false, default: '2020'}}\n"
        "wordings:\n- {name: one, template: 'Rain in {{ city }}, {{ year }}? ||| {{ rain }}'}\n"
        "- {name: two, template: '{{ city }}: ||| {{ rain }}'}\n",
        encoding="utf-8",
    )
    [template] = load("town mm", template=str(path), columns={"city": "town", "rain": "mm"})
    row = Row("1", {"town": "Cork", "mm": "3.50"}, "rain.csv:2")
    example = render_row(template, row, columns={"city": "town", "rain": "mm"})
    assert isinstance(example, Example)
    assert (example.prompt, example.completion) == ("Rain in Cork, 2020?", "3.5")
    assert [t.name for t in load("city rain", template=f"{path}/two")] == ["mine/two"]
    assert refusal("city rain", template=str(path), task="classify") == (
        f"{path}: its family is 'mine', the recipe's task is 'classify'\n"
        "hint: leave --task or data.task out"
    )


@pytest.mark.usefixtures("ag_news")
def test_a_promptsource_template_is_applied_to_the_users_columns() -> None:
    columns = {"text": "story", "label": "kind"}
    [template] = load("story kind", template="promptsource:ag_news/section", columns=columns)
    assert (template.parser, template.metrics) == ("choice", ("accuracy", "macro_f1"))
    example = render_row(
        template, Row("7", {"story": "A goal.", "kind": 1}, "a.jsonl:7"), columns=columns
    )
    assert isinstance(example, Example)
    assert (example.prompt, example.completion) == ("A goal. Which section?", "Sports")
    assert example.choices == ("World", "Sports")


@pytest.mark.usefixtures("ag_news")
def test_declared_labels_give_a_promptsource_template_its_integers() -> None:
    [template] = load(template="promptsource:ag_news/section", labels=["world", "sport"])
    for raw in ("sport", "1", 1):
        row = Row("7", {"text": "A goal.", "label": raw}, "a.csv:7")
        example = render_row(template, row, columns={}, label_names=["world", "sport"])
        assert isinstance(example, Example)
        assert example.completion == "Sports"


@pytest.mark.usefixtures("ag_news")
def test_a_promptsource_template_without_choices_is_scored_by_its_metrics_or_the_tasks() -> None:
    [template] = load("text title", template="promptsource:ag_news/shorten")
    assert (template.parser, template.metrics) == ("text", ("rougeL", "rouge1", "rouge2"))
    [template] = load("text title", template="promptsource:ag_news/shorten", task="title")
    assert (template.family, template.metrics) == ("title", ("rougeL", "rouge1"))


@pytest.mark.parametrize(
    "data, message",
    [
        (
            {},
            "the recipe names no task and no template\nhint: `tunesmith init FILE` proposes one; "
            "--task or data.task names it: answer, answer_from_context, ",
        ),
        ({"task": "clasify"}, "there is no task family 'clasify'\nhint: did you mean 'classify'?"),
        (
            {"task": "classify/ters"},
            "classify: there is no wording 'ters'\nhint: did you mean 'terse'?",
        ),
        (
            {"task": "classify", "template": "ters"},
            "classify: there is no wording 'ters'\nhint: did you mean 'terse'?",
        ),
        (
            {"task": "classify", "columns": {"txt": "text"}},
            "classify/default: there is no slot 'txt'\nhint: did you mean 'text'?",
        ),
        (
            {"task": "classify", "columns": {"text": "tekst"}},
            "classify/default: the slot 'text' is mapped to 'tekst', "
            "which is no column of the table\n"
            "hint: did you mean 'text'?",
        ),
        (
            {"task": "summarise"},
            "summarise/default: no column for the slot 'target'\n"
            "hint: --target COLUMN, or data.columns: {target: COLUMN}; known: label",
        ),
        (
            {"template": "{{ test }} ||| {{ label }}"},
            "inline: no column for the slot 'test'\n"
            "hint: --column test=COLUMN, or data.columns: {test: COLUMN}; did you mean 'text'?",
        ),
        (
            {"template": "{{ text }} ||| {{ label"},
            "inline: template, line 1: unexpected end of template, "
            "expected 'end of print statement'.",
        ),
        (
            {"task": "classify", "wordings": 40},
            "wordings is 40, but classify has 11 for training\n"
            "hint: add some to a copy of its file",
        ),
        (
            {"task": "classify/terse", "wordings": 2},
            "wordings is 2, but the recipe names the one wording classify/terse\n"
            "hint: --task classify (data.task), or data.wordings: 1",
        ),
        (
            {"template": "{{ text }} ||| {{ label }}", "wordings": 2},
            "wordings is 2, but the recipe gives one template\n"
            "hint: data.wordings: 1, or name a task: --task, data.task",
        ),
        (
            {"template": "{{ text }} ||| {{ text }}", "labels": ["a", "b"]},
            "inline: labels is set, but the template has no slot 'label'\n"
            "hint: write {{ label }}, and map it to your column: --label, or data.columns",
        ),
        (
            {"task": "classify", "labels": ["a"]},
            "labels names 1 label, expected two or more\nhint: list all of them",
        ),
        (
            {"task": "classify", "labels": ["a", "b", "a"]},
            "labels names 'a' twice\nhint: a list names the integers 0, 1, 2 ... in order",
        ),
        (
            {"task": "classify", "labels": ["1", "2"]},
            "labels is a list with the number '1': is a 1 in the table a name or a position?\n"
            'hint: map them instead, for example labels: {"1": "1"}',
        ),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused_in_these_words(
    data: dict[str, Any], message: str
) -> None:
    refused = refusal(**data)
    assert refused.startswith(message) if message.endswith(", ") else refused == message


def test_a_wording_with_an_unknown_slot_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "family: mine\nabout: mine\nmetrics: [mae]\nparser: text\nslots: {text: {type: text}}\n"
        "wordings:\n- {name: one, template: '{{ txt }} ||| {{ text }}'}\n",
        encoding="utf-8",
    )
    assert (
        refusal(template=str(path))
        == "mine/one: there is no slot 'txt'\nhint: did you mean 'text'?"
    )


def test_describe_shows_slots_kind_and_text() -> None:
    [template] = load("question choices label", task="multiple_choice/numbers")
    assert template.describe().splitlines()[:3] == [
        "multiple_choice/numbers [options]",
        "slots: question (question), choices (choices), label (label), context? (context)",
        "answer: choice; metrics: accuracy",
    ]
    assert "    Answer with the number of the right option." in template.describe()


@pytest.mark.parametrize("template", ["{{text}}", "{% if text %}{{text}}{% endif %}"])
def test_a_template_without_an_answer_says_what_stands_before_one(template: str) -> None:
    assert refusal(template=template) == (
        f"inline: {template!r} has no |||, which stands before the answer\n"
        "hint: for example {{text}} ||| {{label}}"
    )
