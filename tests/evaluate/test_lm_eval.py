"""The same picks and likelihoods as EleutherAI's lm-evaluation-harness, from a task of its own to
its figures.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support import byte_tokenizer, shared, tiny_llama

from tunesmith.chat.format import ChatFormat, chat_format, complete_tokenizer
from tunesmith.data.tokenize import tokenize_prompts
from tunesmith.evaluate.choice_tokens import choice_ids
from tunesmith.evaluate.metrics import score_predictions
from tunesmith.evaluate.systems import Decoding, answer
from tunesmith.models.load import load_model, load_tokenizer
from tunesmith.records import Example, Prediction

lm_eval = pytest.importorskip(
    "lm_eval", reason="lm-evaluation-harness is not installed: pip install 'tunesmith[bench]'"
)

huggingface = pytest.importorskip("lm_eval.models.huggingface")

CHOICES = ("cat", "dog", "cat/dog", "sun", "tea", "日本", "in the garden")
TEXTS = [
    f"{what} {number}"
    for number in range(6)
    for what in ("where is it", "why", "my account, since Monday,")
]
DOCS = [{"text": text, "label": number % len(CHOICES)} for number, text in enumerate(TEXTS)]
NAMES = {"choice_acc": "acc", "choice_acc_norm": "acc_norm", "choice_acc_bytes": "acc_bytes"}


@dataclass(frozen=True)
class Compared:
    """What tunesmith and the harness made of the same rows."""

    chat: ChatFormat
    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    peer: Any
    figures: dict[str, float]
    samples: Sequence[dict[str, Any]]


def _random() -> tuple[Any, Any]:
    model = tiny_llama()
    for weight in model.parameters():
        # far from uniform, so that picks differ from row to row
        weight.data.mul_(3.0 if weight.ndim > 1 else 1.0)
    return model, byte_tokenizer(bos=False)


def _trained() -> tuple[Any, Any]:
    folder = str(shared("models", "stories260K"))
    return load_model(folder), load_tokenizer(folder)


def _answers(model: Any, tokenizer: Any) -> tuple[ChatFormat, list[Example], list[Prediction]]:
    complete_tokenizer(tokenizer)
    chat = chat_format(tokenizer)
    examples = [
        Example(
            f"{i}",
            f"{i}",
            "",
            f"Message: {doc['text']}\nTopic:",
            CHOICES[doc["label"]],
            (),
            CHOICES,
        )
        for i, doc in enumerate(DOCS)
    ]
    decoding = Decoding(4, chat.stop_ids(model), frozenset(), 4096, rank_choices=True)
    return chat, examples, answer(model, chat, examples, decoding)


@pytest.fixture(scope="module", params=[_random, _trained], ids=["random", "stories260K"])
def compared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    model, tokenizer = request.param()
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
            for name in NAMES.values()
        ],
    }
    peer = huggingface.HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, device="cpu")
    output: dict[str, Any] = lm_eval.simple_evaluate(
        model=peer, tasks=[task], num_fewshot=0, bootstrap_iters=0, log_samples=True
    )
    chat, examples, predictions = _answers(model, tokenizer)
    return Compared(
        chat,
        examples,
        predictions,
        peer,
        output["results"]["local"],
        sorted(output["samples"]["local"], key=lambda sample: sample["doc_id"]),
    )


def test_the_token_ids_are_those_of_the_harness(compared: Compared) -> None:
    prompts = tokenize_prompts(compared.examples, compared.chat)
    ours = zip(prompts, choice_ids(compared.chat, compared.examples), strict=True)
    for example, (prompt, choices) in zip(compared.examples, ours, strict=True):
        for choice, ids in zip(CHOICES, choices, strict=True):
            context, continuation = compared.peer._encode_pair(example.prompt, f" {choice}")
            assert [prompt, ids[:-1]] == [context, continuation]


def test_the_likelihoods_are_those_of_the_harness(compared: Compared) -> None:
    ours = [prediction.choice_logprobs_without_stop for prediction in compared.predictions]
    theirs = [[float(reply[0][0]) for reply in sample["resps"]] for sample in compared.samples]
    assert len(theirs) == len(DOCS)
    assert [list(row) for row in ours] == [pytest.approx(row, abs=1e-3) for row in theirs]


def test_each_row_is_right_or_wrong_as_in_the_harness(compared: Compared) -> None:
    examples, predictions = compared.examples, compared.predictions
    scores = score_predictions(examples, predictions, list(NAMES), "choice").scores
    for name, other in NAMES.items():
        assert scores[name] == [sample[other] for sample in compared.samples], name
        assert sum(scores[name]) / len(DOCS) == pytest.approx(compared.figures[f"{other},none"])
    assert 0 < sum(scores["choice_acc"]) < len(DOCS), "right on some rows and wrong on others"


def test_with_the_stop_token_some_picks_would_be_others() -> None:
    """So the tests above see whether it is left out."""
    model, tokenizer = _random()
    found = _answers(model, tokenizer)[2]
    assert [np.argmax(prediction.choice_logprobs) for prediction in found] != [
        np.argmax(prediction.choice_logprobs_without_stop) for prediction in found
    ]
