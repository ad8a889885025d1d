"""The library: every wording renders clean text from its slots, and a bad file is named with its
key.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith.data.templates.environment import MARK
from tunesmith.data.templates.families import (
    Family,
    Wording,
    family_names,
    load_family,
    read_family,
    reference,
)
from tunesmith.data.templates.render import render_row
from tunesmith.data.templates.resolve import from_family
from tunesmith.errors import TemplateError
from tunesmith.recipe import build_recipe
from tunesmith.records import Example, Row

FAMILIES = {
    "answer", "answer_from_context", "classify", "data_to_text", "extract", "free", "keywords",
    "multi_label_classify", "multiple_choice", "pair_classify",
    "rewrite", "score", "summarise", "tag", "title", "translate",
}  # fmt: skip
WORDINGS = [(name, wording) for name in family_names() for wording in load_family(name).wordings]
DOCS = Path(__file__).parents[3] / "docs" / "templates.md"
IN = {"text", "text_pair", "question", "data"}
ANSWERS = ("target", "label", "labels", "tags", "number")
WRITTEN = {
    "extract": '{"fruit": "mango"}',
    "multi_label_classify": "mango",
    "tag": "TOKENS O\nvalue O",
}
CHOICES = ("lemon", "mango", "peach")
BY_TYPE: dict[str, Any] = {
    "label": "mango",
    "labels": ["mango"],
    "tokens": ["TOKENS", "value"],
    "tags": ["O", "O"],
    "choices": list(CHOICES),
    "number": 7,
    "json": {"fruit": "mango"},
}
OPTIONAL = {
    "kind": "keywords", "style": "formal", "scale": "from 1 to 9", "quality": "taste",
    "fields": "fruit", "source_language": "Irish", "target_language": "Czech",
    "instruction": "Name the fruit.", "context": "Of fruit.",
}  # fmt: skip


def made_row(family: Family, optional: bool) -> Row:
    """Each required slot holds its own name in capitals, unless its type wants something else."""
    values = {
        name: BY_TYPE.get(slot.type, f"{name.upper()} value")
        for name, slot in family.slots.items()
        if slot.required or (optional and name in OPTIONAL)
    }
    return Row(
        "1", values | {name: OPTIONAL[name] for name in values if name in OPTIONAL}, "made.csv:2"
    )


def rendered(name: str, wording: Wording, optional: bool) -> Example:
    family = load_family(name)
    [template] = from_family(family, wording.name)
    example = render_row(template, made_row(family, optional), columns={}, choices=CHOICES)
    assert isinstance(example, Example)
    return example


def test_all_families_are_there() -> None:
    assert set(family_names()) == FAMILIES


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_family_has_ten_wordings_to_train_and_two_to_hold_out(name: str) -> None:
    wordings = load_family(name).wordings
    assert sum(not w.held_out and not w.inverted for w in wordings) >= 10
    assert sum(w.held_out for w in wordings) in (2, 3)
    assert not any(w.held_out and w.inverted for w in wordings)


@pytest.mark.parametrize("optional", [False, True], ids=["required", "all"])
def test_every_wording_renders_clean_text(optional: bool) -> None:
    for name, wording in WORDINGS:
        example = rendered(name, wording, optional)
        where = f"{name}/{wording.name}: {example.prompt!r}"
        lines = example.prompt.split("\n")
        assert not any(line != line.strip() for line in lines), where
        assert not re.search(r"\n\n\n|  |\{|%|None|\.\.", example.prompt.replace('{"fruit"', "")), (
            where
        )
        assert not re.search(r"[ ,]([.?!;]|,,)", example.prompt), where
        assert example.prompt[-1] in ":]>?" or wording.name in {
            "bare",
            "phrase_book",
            "sections",
        }, where


def test_no_two_wordings_of_a_family_render_the_same_prompt() -> None:
    for optional in (False, True):
        for name in FAMILIES:
            family = load_family(name)
            prompts = [rendered(name, w, optional).prompt for w in family.wordings]
            assert len(set(prompts)) == len(prompts), name


def test_every_wording_shows_the_input_and_hides_the_answer() -> None:
    for name, wording in WORDINGS:
        example = rendered(name, wording, optional=True)
        where = f"{name}/{wording.name}"
        if wording.options:  # the answer may stand among the options, and nowhere else
            shown = [example.prompt.count(choice) for choice in CHOICES]
            assert sorted(shown) == ([1, 1, 2] if wording.inverted else [1, 1, 1]), where
        else:
            assert example.completion not in example.prompt, where
        inputs = {
            slot: value
            for slot, value in made_row(load_family(name), False).values.items()
            if slot in IN
        }
        for value in inputs.values():
            assert (value in example.prompt) or value == example.completion, where


def test_an_inverted_wording_writes_the_input_from_the_answer() -> None:
    for name, wording in WORDINGS:
        example, values = rendered(name, wording, True), made_row(load_family(name), True).values
        wanted = next(values[key] for key in ANSWERS if key in values)
        wanted = WRITTEN.get(name, str(wanted))
        if wording.inverted:
            assert wanted in example.prompt, f"{name}/{wording.name}"
            assert example.completion.split()[0] in {"TEXT", "TEXT_PAIR", "QUESTION", "DATA"}
            assert example.choices == ()
        elif not wording.answer_choices:
            assert example.completion == wanted


def test_a_choice_is_always_among_its_choices() -> None:
    for name, wording in WORDINGS:
        if load_family(name).parser == "choice" and not wording.inverted:
            example = rendered(name, wording, True)
            assert len(example.choices) == 3
            assert example.choices.index(example.completion) == 1


def test_separators_and_jinja_in_values_survive_in_every_wording() -> None:
    trap = "a ||| {{ b }} |||"
    for name, wording in WORDINGS:
        family = load_family(name)
        row = made_row(family, optional=False)
        values = {
            key: trap if isinstance(value, str) else value for key, value in row.values.items()
        }
        values |= {"label": trap} if "label" in values else {}
        values |= {"labels": [trap]} if "labels" in values else {}
        values |= {"choices": ["z", trap]} if name == "multiple_choice" else {}
        values |= {"target": {"fruit": trap}} if name == "extract" else {}
        values |= {"tokens": [trap.replace(" ", "_")]} if name == "tag" else {}
        values |= {"tags": ["O"]} if name == "tag" else {}
        [template] = from_family(family, wording.name)
        example = render_row(
            template, Row("1", values, "made.csv:2"), columns={}, choices=(trap, "z")
        )
        assert isinstance(example, Example)
        shown = trap.replace(" ", "_") if name == "tag" else trap
        assert shown in example.prompt or example.prompt.count("7") == 1, f"{name}/{wording.name}"
        assert MARK not in example.prompt + example.completion
        if not wording.answer_choices and family.parser in ("choice", "text"):
            assert example.completion == trap


@pytest.mark.parametrize("name", sorted(FAMILIES - {"free"}))
def test_the_default_puts_a_short_instruction_before_the_input_and_ends_with_a_cue(
    name: str,
) -> None:
    example = rendered(name, load_family(name).wordings[0], optional=False)
    first = example.prompt.splitlines()[0]
    assert len(first) < 90
    assert "value" not in first
    assert re.search(r"\n[A-Z][A-Za-z]+:$", example.prompt)


def test_the_default_leaves_out_more_than_twenty_options() -> None:
    [template] = from_family(load_family("classify"))
    row = Row("1", {"text": "A text.", "label": "c07"}, "made.csv:2")
    few, many = [f"c{i:02}" for i in range(20)], [f"c{i:02}" for i in range(21)]
    with_few, with_many = (
        render_row(template, row, columns={}, choices=choices) for choices in (few, many)
    )
    assert isinstance(with_few, Example)
    assert isinstance(with_many, Example)
    assert "c19" in with_few.prompt
    assert with_many.prompt == "Label the text.\n\nText: A text.\nLabel:"


def test_more_labels_than_letters_are_numbered() -> None:
    [template] = from_family(load_family("classify"), "letters")
    row = Row("1", {"text": "A text.", "label": "c26"}, "made.csv:2")
    example = render_row(template, row, columns={}, choices=[f"c{i:02}" for i in range(27)])
    assert isinstance(example, Example)
    assert (example.completion, example.choices[0], len(example.choices)) == ("27", "1", 27)


# ---- files


def family_file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


GOOD = """family: mine
about: mine
slots: {text: {type: text}, target: {type: target}}
metrics: [exact_match]
parser: text
wordings:
  - {name: one, template: "{{ text }} ||| {{ target }}"}
"""


def test_a_users_file_of_the_same_form_is_read(tmp_path: Path) -> None:
    assert read_family(family_file(tmp_path, GOOD)).wordings[0].name == "one"


@pytest.mark.parametrize(
    "change, message, hint",
    [
        (("metrics", "metrik"), "unknown key 'metrik'", "did you mean 'metrics'?"),
        (
            ("type: target", "about: target"),
            "slots.target.type is missing",
            "see docs/templates.md",
        ),
        (
            ("{name: one", "{held_uot: 1, name: one"),
            "unknown key 'wordings.0.held_uot'",
            "did you mean 'held_out'?",
        ),
        (("parser: text\n", ""), "parser is missing", "see docs/templates.md"),
        (
            (" ||| ", " || "),
            "the wording 'one' has no '|||'",
            "a template is `prompt ||| completion`",
        ),
        (
            ("{name: one", "{held_out: true, name: one"),
            "the first wording 'one' is held out or inverted",
            "the first wording is the default",
        ),
        (
            (GOOD[GOOD.index("  - ") :], GOOD[GOOD.index("  - ") :] * 2),
            "the wording 'one' stands twice",
            "rename one of them",
        ),
        ((GOOD, "- 1"), "a family is a mapping, found list", "see docs/templates.md"),
    ],
)
def test_a_bad_file_is_named_with_its_key(
    tmp_path: Path, change: tuple[str, str], message: str, hint: str
) -> None:
    path = family_file(tmp_path, GOOD.replace(*change))
    with pytest.raises(TemplateError) as caught:
        read_family(path)
    assert (caught.value.message, caught.value.hint) == (f"{path}: {message}", hint)


def test_broken_yaml_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"mine.yaml: not readable as YAML: while parsing"):
        read_family(family_file(tmp_path, "family: [mine"))
    with pytest.raises(TemplateError, match=r"nowhere.yaml: no such template file"):
        read_family(tmp_path / "nowhere.yaml")


def test_an_unknown_family_gets_the_nearest_name_and_a_hyphen_is_an_underscore() -> None:
    with pytest.raises(TemplateError) as caught:
        load_family("clasify")
    assert str(caught.value) == "there is no task family 'clasify'\nhint: did you mean 'classify'?"
    assert load_family("pair-classify").family == "pair_classify"


def test_the_docs_list_the_library_as_it_is() -> None:
    """TUNESMITH_WRITE_DOCS=1 writes the list anew."""
    head, mark, listed = DOCS.read_text(encoding="utf-8").partition(
        "<!-- written by tunesmith.data.templates.families -->\n\n"
    )
    if os.environ.get("TUNESMITH_WRITE_DOCS"):
        DOCS.write_text(head + mark + reference(), encoding="utf-8")
        listed = reference()
    assert listed == reference()


def test_every_yaml_in_the_docs_is_a_recipe_or_a_family() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 9
    for block in blocks:
        values = yaml.safe_load(block)
        if "family" in values:
            assert len(from_family(Family.model_validate(values))) == 1
        else:
            build_recipe(values)
