from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from tunesmith.records import Example
from tunesmith.report.card import front_matter, render_card
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
    assert front_matter(replace(report, recipe={"model": "models/tiny"}))["base_model"] == "tiny"


def test_only_hub_data_sets_are_named_in_the_front_matter(report: Report) -> None:
    sources = ["rows.csv", {"source": "someone/reviews"}, "trec-v1.1"]
    front = front_matter(replace(report, recipe={"model": "built-in", "data": {"source": sources}}))
    assert front["datasets"] == ["someone/reviews", "trec-v1.1"]
    assert front["base_model"] == "tunesmith-built-in"
    assert "datasets" not in front_matter(report)


def test_limits_say_what_was_not_measured(graded_report: Report) -> None:
    card = render_card(graded_report)
    assert "What it lost on other tasks was not measured." in card
    assert "can show a difference of 0.059 or more" in card


def test_a_name_that_looks_like_yaml_stays_a_name(report: Report) -> None:
    card = ModelCard(render_card(replace(report, name="a: [b]\n---\nx: 'y")))
    assert card.data.model_name == "a: [b]\n---\nx: 'y"


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
