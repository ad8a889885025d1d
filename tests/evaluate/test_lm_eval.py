"""The same picks and likelihoods as EleutherAI's lm-evaluation-harness, from a task of its own to
its figures.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from support import byte_tokenizer, tiny_llama

from tunesmith.evaluate.likelihood import choice_logprobs
from tunesmith.evaluate.metrics import score_predictions
from tunesmith.records import Example, Prediction

lm_eval = pytest.importorskip(
    "lm_eval", reason="lm-evaluation-harness is not installed: pip install 'tunesmith[bench]'"
)

huggingface = pytest.importorskip("lm_eval.models.huggingface")

CHOICES = ("lost card", "card", "card payment refused", "日本", "a transfer that takes long")
TEXTS = [
    f"{what} {number}"
    for number in range(6)
    for what in ("where is it", "why", "my account, since Monday,")
]
DOCS = [{"text": text, "label": number % len(CHOICES)} for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def model() -> Any:
    model = tiny_llama()
    for weight in model.parameters():
        weight.data.mul_(
            3.0 if weight.ndim > 1 else 1.0
        )  # far from uniform, so that picks differ from row to row
    return model


@pytest.fixture(scope="module")
def harness(model: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("harness")
    (folder / "docs.jsonl").write_text("\n".join(json.dumps(doc) for doc in DOCS), encoding="utf-8")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    task = {
        "task": "local",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(folder / "docs.jsonl")},
            "cache_dir": str(folder),
        },
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Message: {{text}}\nTopic:",
        "doc_to_choice": list(CHOICES),
        "doc_to_target": "label",
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True}
            for name in ("acc", "acc_norm", "acc_bytes")
        ],
    }
    peer = huggingface.HFLM(
        pretrained=model, tokenizer=byte_tokenizer(bos=False), batch_size=4, device="cpu"
    )
    output: dict[str, Any] = lm_eval.simple_evaluate(
        model=peer, tasks=[task], num_fewshot=0, bootstrap_iters=0, log_samples=True
    )
    return output


def test_likelihoods_picks_and_accuracies_are_those_of_the_harness(
    model: Any, harness: dict[str, Any]
) -> None:
    tokenizer = byte_tokenizer(bos=False)
    prompts = [f"Message: {doc['text']}\nTopic:" for doc in DOCS]
    prompt_ids = tokenizer(prompts).input_ids
    choice_ids = tokenizer([f" {choice}" for choice in CHOICES]).input_ids
    ours = choice_logprobs(model, prompt_ids, [choice_ids] * len(DOCS))

    samples = sorted(harness["samples"]["local"], key=lambda sample: sample["doc_id"])
    theirs = [[float(answer[0][0]) for answer in sample["resps"]] for sample in samples]
    assert len(theirs) == len(DOCS)
    assert (
        max(
            abs(a - b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)
        )
        < 1e-3
    )
    assert [row.index(max(row)) for row in ours] == [row.index(max(row)) for row in theirs]

    examples = [
        Example(str(i), str(i), "", prompt, CHOICES[doc["label"]], (), CHOICES)
        for i, (prompt, doc) in enumerate(zip(prompts, DOCS, strict=True))
    ]
    predictions = [
        Prediction(e.id, "", True, 0, tuple(row)) for e, row in zip(examples, ours, strict=True)
    ]
    names = {
        "choice_acc": "acc,none",
        "choice_acc_norm": "acc_norm,none",
        "choice_acc_bytes": "acc_bytes,none",
    }
    scores = score_predictions(examples, predictions, list(names), "choice").scores
    figures = harness["results"]["local"]
    for name, other in names.items():
        assert sum(scores[name]) / len(DOCS) == pytest.approx(figures[other]), name
    assert 0 < sum(scores["choice_acc"]) < len(DOCS), "right on some rows and wrong on others"
