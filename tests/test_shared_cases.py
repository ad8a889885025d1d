"""The small inputs of ../shared/cases that are about what a cell says, with their right values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support import shared

from tunesmith.data.build import render_source_row
from tunesmith.data.plan import Source, plan_sources
from tunesmith.data.sources.formats import format_examples
from tunesmith.data.sources.members import SourceRows
from tunesmith.data.sources.rows import read_rows
from tunesmith.errors import RecipeError, TemplateError
from tunesmith.evaluate.score_file import score_file
from tunesmith.recipe import DataConfig, build_recipe, load_recipe
from tunesmith.records import Example


def config_of(path: Path, **data: Any) -> DataConfig:
    values = {"data": {"source": str(path), "task": "classify", **data}, "output_dir": "x"}
    return build_recipe(values)[0].data


def planned(path: Path, **data: Any) -> Source:
    config = config_of(path, **data)
    return plan_sources(config, SourceRows(config))[0]


def answers(path: Path, **data: Any) -> list[str]:
    config = config_of(path, **data)
    source = plan_sources(config, SourceRows(config))[0]
    found = []
    for row in SourceRows(config).read(0):
        (outcome,) = render_source_row(source, row, "train", config)
        example = getattr(outcome, "example", None)
        assert isinstance(example, Example)
        found.append(example.completion)
    return found


TRUTHS = {"columns": {"text": "comment", "label": "toxic"}}


def test_truth_values_are_the_same_classes_in_csv_and_json() -> None:
    folder = shared("cases", "05-bool-labels")
    csv, jsonl = (answers(folder / f"toxic.{kind}", **TRUTHS) for kind in ("csv", "jsonl"))
    assert csv == jsonl
    assert csv == ["False", "True"] * 30


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_truth_values_are_mapped_by_unquoted_true_and_false(kind: str, tmp_path: Path) -> None:
    path = shared("cases", "05-bool-labels", f"toxic.{kind}")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"data:\n  source: {path}\n  task: classify\n  labels: {{true: toxic, false: fine}}\n"
        "  columns: {text: comment, label: toxic}\noutput_dir: x\n",
        encoding="utf-8",
    )
    labels = load_recipe(recipe)[0].data.labels
    assert labels == {"true": "toxic", "false": "fine"}
    assert answers(path, **TRUTHS, labels=labels) == ["fine", "toxic"] * 30
    assert answers(path, **TRUTHS, labels={1: "toxic", 0: "fine"}) == ["fine", "toxic"] * 30


def test_a_list_as_the_label_of_a_row_names_the_row_and_the_other_task() -> None:
    path = shared("cases", "08-multilabel", "emo.jsonl")
    with pytest.raises(TemplateError) as caught:
        planned(path, columns={"label": "emotions"})
    assert str(caught.value) == (
        f"{path}:1: the column 'emotions' holds a list, [\"joy\"], where one label is wanted\n"
        "hint: several labels a row are the family multi_label_classify"
    )


def test_spellings_of_a_label_are_named_before_training_with_a_remedy() -> None:
    path = shared("cases", "10-label-case", "case.csv")
    (finding,) = planned(path).findings
    assert finding.name == "label_spelling"
    assert finding.message.startswith("the column 'label' spells labels in several ways")
    for label in ("Positive", "positive", "POSITIVE", "positive.", "Negative", "negative"):
        assert f"'{label}'" in finding.message
    labels = yaml.safe_load(finding.hint.partition("data.labels: ")[2])
    assert planned(path, labels=labels).choices in {
        tuple(sorted((p, n)))
        for p in ("Positive", "positive", "POSITIVE", "positive.")
        for n in ("Negative", "negative")
    }
    assert planned(path, labels=labels).findings == ()


def test_nan_in_an_optional_column_is_null() -> None:
    rows = list(read_rows(shared("cases", "11-nan-alpaca", "alp.json")))
    gaps = [row for row in rows if row.values["input"] != row.values["input"]]
    assert gaps
    for row in gaps:
        (example,) = format_examples("alpaca", row)
        assert isinstance(example, Example)
        assert example.prompt == row.values["instruction"]


def test_answers_that_are_forty_too_large_are_all_wrong() -> None:
    path = shared("cases", "20-score-comma-decimals", "dec.csv")
    result = score_file(path, "gold", {"wrong": "wrong", "right": "right"}, resamples=50)
    for metric, right in [("number", 1.0), ("mae", 0.0)]:
        assert result["metrics"]["right"][metric]["mean"] == right
        assert result["metrics"]["wrong"][metric]["mean"] == {"number": 0.0, "mae": 40.0}[metric]


@pytest.mark.parametrize("metric", ["accuracy", "exact_match", "token_f1", "number", "exact_set"])
def test_whatever_the_metric_no_wrong_decimal_is_right(metric: str) -> None:
    path = shared("cases", "20-score-comma-decimals", "dec.csv")
    result = score_file(path, "gold", {"w": "wrong", "r": "right"}, [metric], resamples=50)
    assert result["metrics"]["w"][metric]["mean"] == 0.0
    assert result["metrics"]["r"][metric]["mean"] == 1.0


@pytest.mark.parametrize(
    "name, shown", [("r.yaml", "[False, True]"), ("r2.yaml", "{0: False, 1: True}")]
)
def test_yes_and_no_without_quotes_ask_for_them(name: str, shown: str) -> None:
    path = shared("cases", "21-yes-no", name)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value) == (
        f"{path}: data.labels = {shown}: a word without quotes is true, false or null in YAML\n"
        'hint: quote them: ["no", "yes"]'
    )


def test_quoted_yes_and_no_work() -> None:
    path = shared("cases", "21-yes-no", "yn.csv")
    assert answers(path, labels=["no", "yes"])[:2] == ["no", "yes"]
    assert answers(path, labels={0: "no", 1: "yes"})[:2] == ["no", "yes"]


def test_floats_and_integers_are_two_classes_and_ask_for_names() -> None:
    folder = shared("cases", "23-float-labels")
    for name in ("f.csv", "mix.csv", "mix.jsonl"):
        source = planned(folder / name)
        assert source.choices == ("0", "1")
        (finding,) = source.findings
        assert finding.name == "number_labels"
        assert finding.hint.endswith("data.labels: [NAME OF 0, NAME OF 1]")
    assert answers(folder / "mix.csv") == answers(folder / "mix.jsonl")
    assert answers(folder / "f.csv", labels=["no", "yes"])[:2] == ["no", "yes"]
