from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from tunesmith.records import Example
from tunesmith.report.card import card_data, hub_id, render_card
from tunesmith.report.content import Report


def test_the_hub_library_reads_the_card(report: Report) -> None:
    data = ModelCard(render_card(report)).data
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M"
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-generation")
    result = data.eval_results[0]
    assert (result.metric_type, result.metric_value, result.dataset_split) == (
        "accuracy",
        0.9231,
        "test",
    )
    assert result.metric_name == "Accuracy, n = 78, 95 % interval 0.8639 to 0.9822"


def test_the_snippet_holds_the_exact_prompt(report: Report) -> None:
    example = Example("e", "e", "t", 'Say "no" to \\ and ```:\n\n\té\nLabel:', "no")
    card = render_card(replace(report, examples={"e": example}))
    assert _prompt(card) == example.prompt


def test_the_snippet_shows_the_layout_rather_than_a_row(report: Report) -> None:
    card = render_card(replace(report, prompt_layout="Label it.\n\nText: {text}\nLabel:"))
    assert _prompt(card) == "Label it.\n\nText: your text\nLabel:"
    assert "spaniels" not in card


def test_the_card_repeats_verdict_and_figures(report: Report) -> None:
    card = render_card(report)
    assert report.verdict in card
    assert "| **Tuned model** | **0.923 [0.86, 0.98]** |" in card
    assert "| General text | Bits per byte | 1.912 | 1.934 |" in card


@pytest.mark.parametrize("model", ["/home/someone/secret/tiny", "./secret/tiny", "~/secret/tiny"])
def test_a_card_does_not_tell_where_files_lay(report: Report, model: str) -> None:
    recipe = {
        **report.recipe,
        "model": model,
        "data": {"source": ["/home/someone/secret/rows.csv"]},
    }
    card = render_card(replace(report, recipe=recipe))
    assert "secret" not in card
    assert "from tiny." in card
    assert "Rows from rows.csv." in card


def test_a_folder_that_exists_is_no_hub_id(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert card_data(replace(report, recipe={"model": "models/tiny"})).base_model == "tiny"


def test_only_hub_data_sets_are_named_in_the_front_matter(report: Report) -> None:
    sources = ["rows.csv", {"source": "someone/reviews:train"}, "trec-v1.1"]
    recipe = {"model": "built-in", "data": {"source": sources}}
    data = card_data(replace(report, recipe=recipe))
    assert data.datasets == ["someone/reviews", "trec-v1.1"]
    assert data.base_model == "tunesmith-built-in"
    assert card_data(report).datasets is None


def test_limits_say_what_was_not_measured(graded_report: Report) -> None:
    card = render_card(graded_report)
    assert "What it lost on other tasks was not measured." in card
    assert "can show a difference of 0.059 or more" in card


def test_a_name_that_looks_like_yaml_stays_a_name(report: Report) -> None:
    card = ModelCard(render_card(replace(report, name="a: [b]\n---\nx: 'y")))
    assert card.data.model_name == "a: [b]\n---\nx: 'y"


def test_the_licence_is_the_base_models(report: Report) -> None:
    assert card_data(replace(report, licence="apache-2.0")).license == "apache-2.0"
    assert card_data(replace(report, licence="")).license == "unknown"
    assert card_data(replace(report, licence="other")).license_name == "as-its-base-model"


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("org/name-1.7B_it", "org/name-1.7B_it"),
        ("my rows (2).csv, more.csv", "my-rows-2-.csv-more.csv"),
        ("a/b/c", "b/c"),
        ("Ärger", "rger"),
        ("...", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_names_on_the_card_are_of_the_form_that_the_hub_takes(name: str, wanted: str) -> None:
    assert hub_id(name) == wanted


def test_the_hub_finds_what_it_requires_of_a_result(report: Report) -> None:
    """The fields and patterns of the hub's documentation on model cards."""
    recipe = {**report.recipe, "data": {"source": ["my rows.csv", "more/rows.csv"]}}
    text = render_card(replace(report, recipe=recipe, licence="mit"))
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "mit"
    [model] = front["model-index"]
    for result in model["results"]:
        assert result["task"]["type"] == "text-generation"
        assert re.fullmatch(r"(?:[\w-]+/)?[\w.-]+", result["dataset"]["type"])
        assert result["dataset"]["name"]
        assert all({"type", "value"} <= metric.keys() for metric in result["metrics"])
    assert ModelCard(text).data.to_dict()["model-index"] == front["model-index"]


def _prompt(card: str) -> object:
    """The value of `prompt` in the card's Python block."""
    code = card.split("```python\n")[1].split("\n```\n")[0]
    assigned = next(
        node
        for node in ast.parse(code).body
        if isinstance(node, ast.Assign) and _target(node) == "prompt"
    )
    return eval(compile(ast.Expression(assigned.value), "card", "eval"), {})


def _target(node: ast.Assign) -> str:
    name = node.targets[0]
    return name.id if isinstance(name, ast.Name) else ""
