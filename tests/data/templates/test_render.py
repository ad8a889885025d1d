"""Rows to examples: what is rendered, left out and refused, and that values never act as template
text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.templates.environment import MARK
from tunesmith.data.templates.promptsource import Template, TemplateCollection, dumps
from tunesmith.data.templates.render import (
    assign_wording,
    collect_choices,
    few_shot_prompt,
    render_row,
)
from tunesmith.data.templates.resolve import Excluded, PromptTemplate, load_templates
from tunesmith.errors import TemplateError
from tunesmith.recipe import DataConfig
from tunesmith.records import Example, Row


def template_of(values: dict[str, Any], **data: Any) -> PromptTemplate:
    return load_templates(DataConfig(**data), list(values))[0]


def render(values: dict[str, Any], data: dict[str, Any], **options: Any) -> Example | Excluded:
    template = template_of(values, **data)
    row = Row("r7", values, "a.csv:8")
    columns, labels = data.get("columns", {}), data.get("labels")
    choices = options.pop("choices", None) or collect_choices(
        [row], template, columns=columns, label_names=labels
    )
    return render_row(
        template, row, columns=columns, label_names=labels, choices=choices, **options
    )


def example(values: dict[str, Any], data: dict[str, Any], **options: Any) -> Example:
    found = render(values, data, **options)
    assert isinstance(found, Example)
    return found


def refusal(values: dict[str, Any], data: dict[str, Any], **options: Any) -> str:
    with pytest.raises(TemplateError) as caught:
        render(values, data, **options)
    return str(caught.value)


def test_a_row_becomes_an_example_with_stripped_sides_and_sorted_choices() -> None:
    data = {
        "task": "classify",
        "columns": {"text": "review", "label": "mood"},
        "labels": ["sad", "glad"],
    }
    assert example({"review": " Fine. ", "mood": 1}, data) == Example(
        id="r7",
        row_id="r7",
        template="classify/default",
        prompt="Label the text as one of: glad, sad.\n\nText: Fine.\nLabel:",
        completion="glad",
        references=("glad",),
        choices=("glad", "sad"),
        group="r7",
        source="a.csv:8",
    )


def test_one_of_several_templates_stands_in_the_examples_id() -> None:
    assert (
        example({"text": "a", "label": "b"}, {"task": "classify"}, several=True).id
        == "r7/classify/default"
    )


def test_a_group_column_gives_the_group() -> None:
    data = {"task": "summarise", "columns": {"group": "author"}}
    assert example({"text": "a", "target": "b", "author": 12}, data).group == "12"


def test_all_right_answers_are_references_and_the_first_is_trained() -> None:
    values = {"context": "In 1912.", "question": "When?", "target": {"text": ["1912", "in 1912"]}}
    found = example(values, {"task": "answer_from_context"})
    assert (found.completion, found.references) == ("1912", ("1912", "in 1912"))
    inverted = example(values, {"task": "answer_from_context/write_question"})
    assert (inverted.completion, inverted.references) == ("When?", ("When?",))


def test_several_completions_of_a_template_are_references() -> None:
    found = example({"a": "x"}, {"template": "{{ a }}? ||| yes ||| yeah"})
    assert (found.prompt, found.completion, found.references) == ("x?", "yes", ("yes", "yeah"))


def test_a_rows_own_choices_go_before_the_declared_ones() -> None:
    values = {"question": "Which is hot?", "choices": ["ice", "tea"], "label": 1}
    found = example(values, {"task": "multiple_choice"})
    assert (found.completion, found.choices) == ("tea", ("ice", "tea"))
    letter = example(values, {"task": "multiple_choice/letters"})
    assert (letter.completion, letter.choices) == ("B", ("A", "B"))


def test_the_same_row_in_csv_and_json_gives_the_same_example() -> None:
    csv = {"question": "Which is hot?", "choices": '["ice", "tea"]', "label": "1"}
    typed = {"question": "Which is hot?", "choices": ["ice", "tea"], "label": 1}
    assert example(csv, {"task": "multiple_choice"}) == example(typed, {"task": "multiple_choice"})
    data = {"task": "score"}
    assert example({"text": "a", "number": "4.0"}, data) == example(
        {"text": "a", "number": 4}, data
    )


def test_optional_slots_without_a_column_leave_no_trace() -> None:
    assert example({"text": "Hallo", "target": "Hi"}, {"task": "translate"}).prompt == (
        "Translate the text.\n\nText: Hallo\nTranslation:"
    )
    values = {"text": "Hallo", "target": "Hi", "target_language": "English"}
    assert example(values, {"task": "translate"}).prompt.startswith(
        "Translate the text into English.\n"
    )


@pytest.mark.parametrize(
    "values, data, reason",
    [
        ({"text": " ", "label": "a"}, {"task": "classify"}, "the slot 'text' is empty"),
        ({"text": "a", "label": ""}, {"task": "classify"}, "the slot 'label' is empty"),
        ({"text": "a", "target": []}, {"task": "summarise"}, "the slot 'target' is empty"),
        (
            {"question": "a", "choices": "", "label": "1"},
            {"task": "multiple_choice"},
            "the slot 'choices' is empty",
        ),
        (
            {"text": "a", "end": ""},
            {"template": "{{ text }} ||| {{ end }}"},
            "the completion is empty",
        ),
        (
            {"text": "a", "end": None},
            {"template": "{{ text }} ||| {{ end }}"},
            "the completion is empty",
        ),
        (
            {"text": "a", "label": None},
            {"task": "classify", "labels": ["x", "y"]},
            "the slot 'label' is empty",
        ),
        (
            {"text": "a", "labels": None},
            {"task": "multi_label_classify", "labels": ["x", "y"]},
            "the slot 'labels' is empty; write [] or none where no label applies",
        ),
        (
            {"review": float("nan"), "label": "x"},
            {"task": "classify", "columns": {"text": "review"}},
            "the slot 'text' is empty",
        ),
        (
            {"text": "a"},
            {"template": "{{ text }}{% if text == 'b' %} ||| b{% endif %}"},
            "the template leaves the row out",
        ),
    ],
)
def test_a_row_without_an_answer_or_input_is_left_out_with_its_reason(
    values: dict[str, Any], data: dict[str, Any], reason: str
) -> None:
    template = template_of(values, **data)
    assert render(values, data) == Excluded("r7", template.name, reason, "a.csv:8")


@pytest.mark.parametrize(
    "values, data, message",
    [
        (
            {"a": None},
            {"template": "{{ a }} ||| b"},
            "a.csv:8: inline: the column 'a' is None\n"
            "hint: fill it, drop the row, or test it with `if`",
        ),
        (
            {"text": "a", "label": "x"},
            {"template": "{{ text }} ||| {{ label }}.", "labels": ["x", "y"]},
            "a.csv:8: inline: the completion 'x.' is not among the 2 choices\n"
            "hint: did you mean 'x'?",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_in_these_words(
    values: dict[str, Any], data: dict[str, Any], message: str
) -> None:
    assert refusal(values, data) == message


def test_a_row_that_lacks_a_column_the_first_row_had_is_named() -> None:
    template = template_of({"text": "a", "target": "b"}, task="summarise")
    with pytest.raises(TemplateError) as caught:
        render_row(template, Row("2", {"text": "a", "targt": "b"}, "a.jsonl:2"), columns={})
    assert str(caught.value) == (
        "a.jsonl:2: summarise/default: no column 'target' in the row\nhint: did you mean 'targt'?"
    )


# ---- choices, wordings, few-shot


def rows_of(labels: list[Any]) -> list[Row]:
    return [
        Row(str(i), {"text": "a", "label": label}, f"a.csv:{i}")
        for i, label in enumerate(labels, start=2)
    ]


def test_choices_are_collected_sorted_without_blanks_or_taken_as_declared() -> None:
    template = template_of({"text": "", "label": ""}, task="classify")
    assert collect_choices(rows_of(["b", "a", "", "b "]), template, columns={}) == ("a", "b")
    assert collect_choices([], template, columns={}, label_names={"0": "no", "1": "yes"}) == (
        "no",
        "yes",
    )
    summarise = template_of({"text": "", "target": ""}, task="summarise")
    assert collect_choices(rows_of(["b"]), summarise, columns={}) == ()


def test_a_thousand_and_one_labels_are_free_text() -> None:
    template = template_of({"text": "", "label": ""}, task="classify")
    assert (
        len(collect_choices(rows_of([f"l{i}" for i in range(1000)]), template, columns={})) == 1000
    )
    with pytest.raises(TemplateError) as caught:
        collect_choices(rows_of([f"l{i}" for i in range(1001)]), template, columns={})
    assert str(caught.value) == (
        "a.csv:1002: the column 'label' has more than 1000 different labels\n"
        "hint: is it free text? then use the family answer or free"
    )


def test_a_rows_wording_depends_on_nothing_but_its_id_and_the_seed() -> None:
    found = [assign_wording(str(i), 3, seed=0) for i in range(3000)]
    assert found[:8] == [0, 2, 1, 1, 0, 1, 2, 0]
    assert all(900 < found.count(k) < 1100 for k in range(3))
    assert found != [assign_wording(str(i), 3, seed=1) for i in range(3000)]


def test_random_draws_depend_on_row_template_and_seed() -> None:
    data = {"template": "{{ ['a', 'b', 'c', 'd'] | choice }} {{ text }} ||| b"}
    prompts = [example({"text": "x"}, data, seed=seed).prompt for seed in range(20)]
    assert prompts == [example({"text": "x"}, data, seed=seed).prompt for seed in range(20)]
    assert len(set(prompts)) == 4


@pytest.fixture
def lottery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Template:
    """A PromptSource template whose text and whose choices are drawn, where recipes find it."""
    template = Template(
        id="0-lottery",
        name="draw",
        jinja="{{ ['Pick', 'Take'] | choice }} {{ range(1000) | choice }}: {{ text }} ||| "
        "{{ answer_choices[0] }}",
        answer_choices="{{ range(1000) | choice }} ||| none",
        source="lottery",
    )
    (tmp_path / "lottery").mkdir()
    (tmp_path / "lottery" / "templates.yaml").write_text(
        dumps(TemplateCollection("lottery", (template,)))
    )
    monkeypatch.setenv("TUNESMITH_PROMPTSOURCE", str(tmp_path))
    return template


def test_a_promptsource_template_draws_in_a_run_as_it_draws_alone(lottery: Template) -> None:
    ours = template_of({"text": ""}, template="promptsource:lottery/draw")
    for row_id, seed in (("1", 0), ("2", 0), ("2", 7)):
        found = render_row(ours, Row(row_id, {"text": "x"}, "a.csv:2"), columns={}, seed=seed)
        alone = lottery.apply({"text": "x"}, seed=seed, row_id=row_id)
        assert isinstance(found, Example)
        assert alone is not None
        assert (found.prompt, found.references, found.choices) == (
            alone.prompt,
            alone.targets,
            alone.choices,
        )


def test_a_templates_text_and_its_choices_draw_apart() -> None:
    source = "{{ range(1000) | choice }} ||| {{ answer_choices[0] }}"
    template = PromptTemplate(
        "t", source, "free", "text", (), answer_choices="{{ range(1000) | choice }} ||| none"
    )
    drawn = [render_row(template, Row(str(i), {}, "a.csv:2"), columns={}) for i in range(5)]
    assert all(isinstance(e, Example) and e.prompt != e.completion for e in drawn)


def test_a_row_with_an_empty_answer_among_several_is_left_out() -> None:
    found = render({"a": "x", "b": ""}, {"template": "{{ a }} ||| yes ||| {{ b }}"})
    assert found == Excluded("r7", "inline", "the completion is empty", "a.csv:8")


def test_few_shot_is_solved_examples_with_a_blank_line_between() -> None:
    solved = [Example(str(i), str(i), "t", f"Q{i}\nA:", f"a{i}") for i in (1, 2)]
    assert few_shot_prompt(solved, "Q3\nA:") == "Q1\nA: a1\n\nQ2\nA: a2\n\nQ3\nA:"
    assert few_shot_prompt([], "Q3\nA:") == "Q3\nA:"


# ---- values are never template text

TEXTS = st.text(st.sampled_from("ab|{}% \n#\\\"'é"), min_size=1, max_size=30).filter(str.strip)


@settings(deadline=None, max_examples=60)
@given(text=TEXTS, target=TEXTS)
def test_separators_and_jinja_in_values_survive_as_text(text: str, target: str) -> None:
    found = example({"text": text, "target": target}, {"task": "summarise"})
    assert found.prompt == f"Summarise the text.\n\nText: {text.strip()}\nSummary:"
    assert found.completion == target  # byte for byte: it is what is trained
    assert MARK not in found.prompt + found.completion


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(
        # a label that is the text of a list or an object is refused
        TEXTS.map(str.strip).filter(lambda text: text[:1] not in ("[", "{", "(")),
        min_size=2,
        max_size=4,
        unique=True,
    )
)
def test_separators_in_labels_survive_and_stay_choices(labels: list[str]) -> None:
    template = template_of({"text": "", "label": ""}, task="classify")
    rows = rows_of(labels)
    choices = collect_choices(rows, template, columns={})
    for row, label in zip(rows, labels, strict=True):
        found = render_row(template, row, columns={}, choices=choices)
        assert isinstance(found, Example)
        assert (found.completion, found.choices) == (label, tuple(sorted(labels)))


# ---- several right answers, label sets, tagged words


def test_each_right_answer_counts_as_the_template_would_have_written_it() -> None:
    data = {"template": "{{ question }} ||| It is {{ target }}.", "task": "answer"}
    found = example({"question": "Where?", "target": "['Cork', 'in Cork']"}, data)
    assert found.completion == "It is Cork."
    assert found.references == ("It is Cork.", "It is in Cork.")


@pytest.mark.parametrize(
    "target, references",
    [
        ("Cork", ("Cork",)),
        (["Cork", "in Cork"], ("Cork", "in Cork")),
        ('["Cork", "in Cork"]', ("Cork", "in Cork")),
        ({"text": ["Cork"], "answer_start": [3]}, ("Cork",)),
        ("{'text': ['Cork', 'in Cork'], 'answer_start': [3, 0]}", ("Cork", "in Cork")),
    ],
)
def test_each_row_is_read_by_itself(target: Any, references: tuple[str, ...]) -> None:
    found = example({"question": "Where?", "target": target}, {"task": "answer"})
    assert (found.completion, found.references) == (references[0], references)


def test_a_target_slot_of_any_name_may_hold_several_answers(tmp_path: Path) -> None:
    family = tmp_path / "mine.yaml"
    family.write_text(
        "family: mine\nabout: a\nslots: {q: {type: text}, reply: {type: target}}\n"
        "metrics: [exact_match]\nparser: text\n"
        "wordings: [{name: one, template: '{{ q }} ||| {{ reply }}'}]\n",
        encoding="utf-8",
    )
    found = example({"q": "Where?", "reply": ["a", "b"]}, {"template": str(family)})
    assert found.references == ("a", "b")


def test_labels_are_written_one_a_line_in_the_order_of_the_list() -> None:
    values = {"text": "a", "labels": ["joy", "fear, dread"]}
    template = template_of(values, task="multi_label_classify/plain")
    row = Row("1", values, "a.jsonl:2")
    found = render_row(template, row, columns={}, choices=("joy", "fear, dread"))
    assert isinstance(found, Example)
    assert (found.completion, found.choices) == ("joy\nfear, dread", ())
    empty = render_row(
        template, Row("1", values | {"labels": []}, "a.jsonl:2"), columns={}, choices=("joy",)
    )
    assert isinstance(empty, Example)
    assert empty.completion == "none"


def test_words_are_shown_as_a_text_and_answered_with_a_tag_each() -> None:
    values = {"tokens": ["Ada", "left"], "tags": [1, 0]}
    found = example(values, {"task": "tag/plain", "labels": ["O", "B-PER"]})
    assert found.prompt.endswith("Text: Ada left\nTagged:")
    assert found.completion == "Ada B-PER\nleft O"
    with pytest.raises(TemplateError, match=r"the column 'tags' has 1 tags for 2 words"):
        example(values | {"tags": ["O"]}, {"task": "tag/plain"})


def test_free_tags_are_pointed_to_their_family() -> None:
    with pytest.raises(TemplateError, match="are the family keywords"):
        template_of({"text": "a", "target": "b"}, task="tag")


def test_a_list_that_is_the_whole_completion_of_an_inline_template_is_alternatives() -> None:
    data = {"template": "{{ q }} ||| {{ answers }}"}
    found = example({"q": "Where?", "answers": ["Cork", "in Cork"]}, data)
    assert (found.completion, found.references) == ("Cork", ("Cork", "in Cork"))
    squad = {"text": ["Cork"], "answer_start": [3]}
    assert example({"q": "Where?", "answers": squad}, data).references == ("Cork",)
    assert render({"q": "Where?", "answers": []}, data) == Excluded(
        "r7", "inline", "the completion is empty", "a.csv:8"
    )
    assert refusal({"q": "Where?", "answers": ["a", None]}, data) == (
        "a.csv:8: the column 'answers' has a list with a missing answer\n"
        "hint: correct it, or drop the row"
    )


def test_other_columns_of_an_inline_template_are_as_they_are() -> None:
    data = {"template": "{{ q }} ||| {{ answers }}"}
    as_text = '["Cork", "in Cork"]'
    assert example({"q": "Where?", "answers": as_text}, data).references == (as_text,)
    data = {"template": "{{ q }} ||| {{ answers[1] }}"}
    assert example({"q": "?", "answers": ["Cork", "in Cork"]}, data).references == ("in Cork",)


def test_lists_and_objects_of_a_row_are_printed_as_text_and_can_still_be_used() -> None:
    data = {"template": "{{ x }} {{ x[1] }} {{ x | length }} {{ y }} {{ y.a[0] }} ||| b"}
    values = {"x": ["ä", "it's"], "y": {"a": [1, "z"]}}
    assert example(values, data).prompt == 'ä, it\'s it\'s 2 {"a": [1, "z"]} 1'


def test_tags_that_are_numbers_want_names() -> None:
    values = {"tokens": ["Ada", "left"], "tags": [1, 0]}
    assert refusal(values, {"task": "tag"}) == (
        "tag/default: the tags are numbers, 0, 1\n"
        "hint: name them in data.labels, in order: [O, B-PER, I-PER]"
    )


def test_a_row_may_bring_the_labels_that_it_is_labelled_from() -> None:
    values = {"text": "a", "labels": [2, "x"], "choices": ["x", "y", "z"]}
    found = example(values, {"task": "multi_label_classify"})
    assert "To choose from: x; y; z\n" in found.prompt
    assert found.completion == "x\nz"
