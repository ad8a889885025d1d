"""The recipe that is written reads back as it was meant, whatever stands in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunesmith.data.templates.resolve import resolve_templates
from tunesmith.errors import DataError
from tunesmith.init.facts import look
from tunesmith.init.files import Beside
from tunesmith.init.proposal import Proposal, propose, with_fit
from tunesmith.init.table import Table
from tunesmith.init.write import commented_recipe, values_of
from tunesmith.recipe import DataConfig, build_recipe, load_recipe


def written(found: Proposal, folder: Path, source: str = "rows.csv") -> str:
    """The text, which has to read back as the same recipe."""
    recipe, _ = build_recipe(values_of(found, source, "runs/rows"))
    text = commented_recipe(recipe, found, "Proposed.")
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_recipe(path)[0] == recipe
    return text


def test_the_comments_say_why(tmp_path: Path) -> None:
    found = Proposal(
        "classify",
        {"text": "review", "label": "mood"},
        metrics=("accuracy",),
        unnamed=("0", "1"),
        reasons={"data.task": "two values", "data.split": "drawn", "evaluation.metrics": "usual"},
        doubts=("few rows",),
    )
    assert written(found, tmp_path) == (
        "# Proposed.\n"
        "# ! few rows\n"
        "model: built-in  # a Hugging Face folder or hub id; built-in is the small one that comes "
        "along\n"
        "\n"
        "data:\n"
        "  source: rows.csv\n"
        "  task: classify  # two values\n"
        "  columns: {text: review, label: mood}\n"
        "  # labels: {'0': NAME OF 0, '1': NAME OF 1}\n"
        "  # bare numbers say nothing to a language model: give them their names above\n"
        "  # drawn\n"
        "\n"
        "train:\n"
        "  num_train_epochs: 3  # passes over the training rows\n"
        "\n"
        "evaluation:\n"
        "  metrics: [accuracy]  # usual\n"
        "\n"
        "output_dir: runs/rows  # the run folder\n"
    )


@pytest.mark.parametrize(
    "name",
    ["yes", "1", "a: b", "#x", "né", "x\ny: 2", "\x1b[2J", "{a}", "- a", "'", '"', "null", " "],
)
def test_any_name_reads_back_and_acts_on_nothing(name: str, tmp_path: Path) -> None:
    found = Proposal(
        "classify",
        {"text": name, "label": "mood"},
        labels={"0": name, "1": "other"},
        split={"group": name},
        reasons={"data.task": f"because of {name}", "data.split": name},
        doubts=(f"what about {name}?",),
    )
    text = written(found, tmp_path, source=name)
    assert "\x1b" not in text


@pytest.mark.parametrize("template", ["a\nb ||| c", "  a\nb ||| c", "a \n\nb\t||| c\n", "a\x1b\nb"])
def test_a_template_of_several_lines_reads_back(template: str, tmp_path: Path) -> None:
    written(Proposal("free", {}, template), tmp_path)


def test_fit_marks_the_texts_slot_of_the_tasks_own_wording() -> None:
    found = with_fit(Proposal("answer_from_context", {}))
    assert "{{ context | fit }}" in str(found.template)
    assert str(found.template).count("fit") == 1
    own = with_fit(Proposal("summarise", {}, "{{ text }} ||| {{ target }}"))
    assert own.template == "{{ text | fit }} ||| {{ target }}"
    assert with_fit(Proposal(None, {})).template is None


def test_fit_in_a_named_wording_leaves_the_family_as_the_task() -> None:
    found = with_fit(Proposal("summarise/terse", {}))
    assert found.template == "{{ text | fit }}\n\nIn short: ||| {{ target }}"
    assert found.task == "summarise"
    resolve_templates(DataConfig(task=found.task, template=found.template))


def test_a_wording_that_a_template_cannot_stand_for_gets_no_fit() -> None:
    for task in ("summarise/expand", "classify/letters"):  # inverted; with choices of its own
        assert with_fit(Proposal(task, {})) == Proposal(task, {})


cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from(["", "a", "a;b", "b", "[1", "['a']", "1,5", "2024-01-02", "{'a': 1}", "why?"]),
    st.text(max_size=6),
    st.lists(st.sampled_from(["a", "b", None]), max_size=3),
    st.dictionaries(st.sampled_from(["text", "entity"]), st.text(max_size=2), max_size=2),
)
names = st.one_of(
    st.sampled_from(
        ["text", "label", "input", "output", "id", "tokens", "tags", "choices", "answer"]
    ),
    st.text(min_size=1, max_size=4),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(names, st.lists(cells, min_size=6, max_size=6), min_size=1, max_size=4))
def test_any_table_gives_a_recipe_or_one_error(columns: dict[str, list[Any]]) -> None:
    rows = [{name: values[i] for name, values in columns.items()} for i in range(6)]
    try:
        found = propose(Table(look("rows.csv", rows)), Beside(None, {}))
    except DataError:
        return
    build_recipe(values_of(found, "rows.csv", "runs/rows"))
