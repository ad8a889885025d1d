"""Tables with several labels a row, with tagged words and with several right answers, from the file
to the report.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunesmith import pipeline, stages
from tunesmith.data.store import read_examples
from tunesmith.errors import RecipeError
from tunesmith.recipe import Recipe, build_recipe
from tunesmith.records import SPLITS, Example
from tunesmith.run_files import read_manifest
from tunesmith.rundir import RunDir, read_json

COLOURS, THINGS = ("red", "white"), ("wine", "apple", "chalk")


def recipe_of(folder: Path, model: Path, rows: Path, **data: Any) -> Recipe:
    values = {
        "model": str(model),
        "data": {
            "source": str(rows),
            "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
            "near_duplicates": False,
        }
        | data,
        "train": {"num_train_epochs": 1, "learning_rate": 5e-3, "train_batch_size": 8},
        "evaluation": {"few_shot": 2, "resamples": 200, "dtype": "float32", "max_new_tokens": 24},
        "output_dir": str(folder / "run"),
    }
    return build_recipe(values)[0]


def prepared(folder: Path, model: Path, rows: Path, **data: Any) -> dict[str, list[Example]]:
    stages.prepare.prepare(recipe_of(folder, model, rows, **data))
    run = RunDir(folder / "run")
    return {split: read_examples(run.examples(split)) for split in SPLITS}


def notes_of(folder: Path) -> list[str]:
    return list(read_json(RunDir(folder / "run").ledger)["notes"])


def label_rows(n: int = 50) -> list[tuple[str, list[str]]]:
    """The labels are the colour and the thing in the text, if there are any."""
    rows = []
    for i in range(n):
        words = [(*COLOURS, "no")[i % 3], (*THINGS, "stone")[i % 4]]
        labels = [word for word in words if word in (*COLOURS, *THINGS)]
        rows.append((f"{words[0]} {words[1]} number {i}", labels))
    return rows


def write_csv(path: Path, rows: list[tuple[Any, ...]], header: tuple[str, ...]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.mark.parametrize("form", ["parquet", "json", "python", ";"])
def test_labels_in_each_form_give_the_same_answers(
    tmp_path: Path, tiny_model_dir: Path, form: str
) -> None:
    rows = label_rows()
    if form == "parquet":
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist([{"text": t, "labels": x} for t, x in rows]), path)
    else:
        write = {"json": json.dumps, "python": str, ";": lambda x: "; ".join(x) or "none"}[form]
        path = write_csv(
            tmp_path / "rows.csv", [(t, write(x)) for t, x in rows], ("text", "labels")
        )
    found = prepared(tmp_path, tiny_model_dir, path, task="multi_label_classify")
    wanted = {text: "\n".join(sorted(labels)) or "none" for text, labels in rows}
    examples = [example for split in SPLITS for example in found[split]]
    assert len(examples) == 50
    for example in examples:
        text = example.prompt.split("Text: ")[1].split("\nLabels:")[0]
        assert (example.completion, example.references) == (wanted[text], (wanted[text],))
        assert "To choose from: apple; chalk; red; white; wine\n" in example.prompt
    said = [note for note in notes_of(tmp_path) if "label_separator" in note]
    expected = (
        "the labels in 'labels' are taken to be separated by ';'; "
        "data.label_separator names another"
    )
    assert said == ([expected] if form == ";" else [])


def test_the_split_is_stratified_by_the_combination_of_labels(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    rows = [(f"text {i}", ["ab", "ba", "a", ""][i % 4].replace("", " ").split()) for i in range(80)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": t, "labels": x}) + "\n" for t, x in rows))
    found = prepared(tmp_path, tiny_model_dir, path, task="multi_label_classify")
    counts = {split: Counter(example.completion for example in found[split]) for split in SPLITS}
    assert counts["test"] == {"a\nb": 8, "a": 4, "none": 4}
    assert counts["train"] == {"a\nb": 24, "a": 12, "none": 12}


def test_a_separator_may_be_named_and_is_refused_where_one_label_is_wanted(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    rows = [(f"text {i}", "a, b/c" if i % 2 else "c") for i in range(20)]
    path = write_csv(tmp_path / "rows.csv", rows, ("text", "labels"))
    found = prepared(
        tmp_path, tiny_model_dir, path, task="multi_label_classify", label_separator="/"
    )
    completions = {example.completion for split in SPLITS for example in found[split]}
    assert completions == {"a, b\nc", "c"}
    assert not [note for note in notes_of(tmp_path) if "label_separator" in note]
    with pytest.raises(RecipeError, match="the task takes one label a row"):
        prepared(
            tmp_path / "other",
            tiny_model_dir,
            path,
            task="classify",
            columns={"label": "labels"},
            label_separator="/",
        )


def test_several_right_answers_count_and_the_first_is_trained(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    answers = ["Cork", "['Cork', 'in Cork']", '["Galway", "Gaillimh"]']
    answers.append("{'text': ['Sligo', 'in Sligo'], 'answer_start': [3, 0]}")
    rows = [(f"Where is number {i}?", answers[i % 4]) for i in range(20)]
    path = write_csv(tmp_path / "rows.csv", rows, ("question", "target"))
    found = prepared(tmp_path, tiny_model_dir, path, task="answer")
    references = {example.references for split in SPLITS for example in found[split]}
    assert references == {
        ("Cork",),
        ("Cork", "in Cork"),
        ("Galway", "Gaillimh"),
        ("Sligo", "in Sligo"),
    }
    said = [note for note in notes_of(tmp_path) if note.startswith("several answers are right")]
    assert len(said) == 1
    assert "15 of 20 examples" in said[0]


def test_a_run_on_label_sets_reports_set_metrics_and_all_baselines(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    rows = [(text, json.dumps(labels)) for text, labels in label_rows()]
    path = write_csv(tmp_path / "rows.csv", rows, ("text", "labels"))
    recipe = recipe_of(tmp_path, tiny_model_dir, path, task="multi_label_classify/terse")
    report = pipeline.run(recipe)
    assert read_manifest(RunDir(tmp_path / "run")).task.parser == "labels"
    assert report["comparison"]["metric"] == "multilabel_micro_f1"
    systems = {"base", "base_few_shot", "majority", "constant", "tfidf_linear", "tuned"}
    assert set(report["evaluations"]) == systems
    linear = report["evaluations"]["tfidf_linear"]
    assert linear["multilabel_micro_f1"]["mean"] == 1.0
    assert linear["exact_set"]["mean"] == 1.0
    assert "| white |" in (tmp_path / "run" / "report.md").read_text()  # the table by label


def test_a_run_on_tagged_words_reports_entities(tmp_path: Path, tiny_model_dir: Path) -> None:
    names = ("Ada", "Bob", "Cyd", "Dan")
    rows = [
        {"tokens": [names[i % 4], "saw", f"{i}", "in", "Cork"], "tags": [1, 0, 0, 0, 2]}
        for i in range(40)
    ]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    recipe = recipe_of(
        tmp_path, tiny_model_dir, path, task="tag/terse", labels=["O", "B-PER", "B-LOC"]
    )
    report = pipeline.run(recipe)
    example = read_examples(RunDir(tmp_path / "run").examples("test"))[0]
    number = example.prompt.split()[2]
    assert example.completion == f"{example.prompt.split()[0]} B-PER\nsaw O\n{number} O\n" + (
        "in O\nCork B-LOC"
    )
    assert report["comparison"]["metric"] == "entity_f1"
    assert report["evaluations"]["majority"]["entity_f1"]["mean"] == 1.0
    assert set(report["evaluations"]) == {"base", "base_few_shot", "majority", "tuned"}


def test_rare_combinations_are_called_so(tmp_path: Path, tiny_model_dir: Path) -> None:
    rows = [(f"text {i}", ";".join({"a", "b"[: i % 2], f"only {i}"[: 6 * (i % 9 == 0)]} - {""}))
            for i in range(40)]  # fmt: skip
    path = write_csv(tmp_path / "rows.csv", rows, ("text", "labels"))
    prepared(tmp_path, tiny_model_dir, path, task="multi_label_classify")
    said = notes_of(tmp_path)
    assert any("combinations of labels" in note for note in said)
    assert not any("classes" in note for note in said)


def test_equal_sets_in_another_order_are_no_conflict(tmp_path: Path, tiny_model_dir: Path) -> None:
    rows = [(f"text {i // 2}", ["a;b", "b;a"][i % 2]) for i in range(20)]
    rows += [(f"other {i}", "c") for i in range(10)]
    path = write_csv(tmp_path / "rows.csv", rows, ("text", "labels"))
    prepared(tmp_path, tiny_model_dir, path, task="multi_label_classify")
    facts = read_json(RunDir(tmp_path / "run").ledger)
    assert (facts["conflicting_rows"], facts["rows"]["duplicates"]) == (0, 10)


def test_the_users_test_file_has_the_separator_of_the_training_rows(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    rows = [(f"text {i}", "x, y;z" if i % 2 else "z") for i in range(20)]
    path = write_csv(tmp_path / "rows.csv", rows, ("text", "labels"))
    own = write_csv(
        tmp_path / "test.csv", [("new text", "x, y"), ("other", "z")], ("text", "labels")
    )
    found = prepared(
        tmp_path, tiny_model_dir, path, task="multi_label_classify", test_source=str(own)
    )
    assert [example.completion for example in found["test"]] == ["x, y", "z"]
