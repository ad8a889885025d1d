"""Tasks of lm-evaluation-harness in the panel: the harness's own figures, paired by document."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support import byte_tokenizer, tiny_llama

from tunesmith.errors import DataError, InputError
from tunesmith.evaluate import harness
from tunesmith.evaluate.compare import compare

DOCS = [{"text": f"number {number}", "label": number % 3, "answer": "one"} for number in range(12)]
CHOICES = ("one", "three", "a lot of them")


def task_file(folder: Path, **changes: Any) -> str:
    """The name of a task with documents of its own."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    (folder / "docs.jsonl").write_text("\n".join(json.dumps(doc) for doc in DOCS))
    task = {
        "task": "local",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(folder / "docs.jsonl")},
            "cache_dir": str(folder),
        },
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "How much is {{text}}?",
        "doc_to_choice": list(CHOICES),
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        **changes,
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(task))
    return f"lm_eval:{folder / 'mine.yaml'}"


def test_a_task_needs_the_harness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "installed", lambda package: False)
    with pytest.raises(InputError, match="lm_eval:arc_easy needs lm-evaluation-harness") as error:
        harness.check_harness_task("lm_eval:arc_easy")
    assert error.value.hint == "pip install 'tunesmith[lm-eval]'"


def test_only_names_with_the_prefix_are_tasks_of_the_harness() -> None:
    names = ["lm_eval:arc_easy", "lm_eval:mine.yaml", "other.yaml", "texts/lm_eval.txt"]
    assert [harness.is_harness_task(name) for name in names] == [True, True, False, False]


needs_harness = pytest.mark.skipif(
    not harness.installed("lm_eval"),
    reason="lm-evaluation-harness is not installed: pip install 'tunesmith[lm-eval]'",
)


@needs_harness
def test_unknown_tasks_are_found_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no task 'arc_eazy'"):
        harness.check_harness_task("lm_eval:arc_eazy")
    with pytest.raises(InputError, match=r"there is no file .*mine.yaml"):
        harness.check_harness_task(f"lm_eval:{tmp_path / 'mine.yaml'}")
    harness.check_harness_task("lm_eval:arc_easy")
    harness.check_harness_task(task_file(tmp_path))


@needs_harness
def test_two_models_are_compared_by_document(tmp_path: Path) -> None:
    name, tokenizer = task_file(tmp_path), byte_tokenizer()
    first, other = tiny_llama(), tiny_llama()
    for weight in other.parameters():
        weight.data.mul_(-3.0 if weight.ndim > 1 else 1.0)
    before, metric = harness.harness_scores(first, tokenizer, name, "base")
    after, _ = harness.harness_scores(other, tokenizer, name, "tuned")
    assert metric == "choice_acc"
    assert before.example_ids == after.example_ids
    assert len(before.example_ids) == 12
    picked = likeliest(first, tokenizer)
    assert before.scores[metric] == [
        float(p == doc["label"]) for p, doc in zip(picked, DOCS, strict=True)
    ]
    change = compare(before, after, metric, resamples=200)
    assert (change.n, change.test) == (12, "exact McNemar")
    assert change.difference == pytest.approx(
        (sum(after.scores[metric]) - sum(before.scores[metric])) / 12
    )


def likeliest(model: Any, tokenizer: Any) -> list[int]:
    """The choice with the highest log-likelihood after the text and a blank, computed plainly."""
    picked = []
    for doc in DOCS:
        prompt = tokenizer(f"How much is {doc['text']}?").input_ids
        sums = []
        for choice in CHOICES:
            ids = tokenizer(f" {choice}", add_special_tokens=False).input_ids
            with torch.no_grad():
                logits = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
            places = range(len(prompt) - 1, len(prompt) + len(ids) - 1)
            sums.append(sum(logits[p, t].item() for p, t in zip(places, ids, strict=True)))
        picked.append(sums.index(max(sums)))
    return picked


@needs_harness
def test_a_task_that_scores_no_document_by_itself_is_refused(tmp_path: Path) -> None:
    name = task_file(
        tmp_path,
        output_type="loglikelihood",
        doc_to_target="answer",
        metric_list=[{"metric": "perplexity"}],
    )
    with pytest.raises(DataError, match="no metric that scores each document by itself"):
        harness.harness_scores(tiny_llama(), byte_tokenizer(), name, "base")
