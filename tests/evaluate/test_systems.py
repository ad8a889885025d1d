"""What the systems are asked and what is kept of their answers."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import example, plain_chat, tiny_llama

from tunesmith.evaluate import systems
from tunesmith.evaluate.forward import in_dtype
from tunesmith.evaluate.generate import Generated
from tunesmith.evaluate.likelihood import Ranked, rank_choices
from tunesmith.evaluate.systems import (
    Decoding,
    TaskDecoding,
    _greedy,
    answer,
    task_decodings,
    with_tasks,
)
from tunesmith.models.load import load_model
from tunesmith.recipe import EvaluationConfig

DECODING = Decoding(4, (1,), frozenset(), 4096, rank_choices=False)


def test_the_likelihood_of_the_right_answer_is_that_of_its_tokens_and_the_stop_token() -> None:
    model, chat = tiny_llama(), plain_chat()
    examples = [example(1), example(2, completion="no, never")]
    found = answer(model, chat, examples, replace(DECODING, score_references=True))
    for made, e in zip(found, examples, strict=True):
        prompt = chat.encode([e.prompt and f"<s>{e.prompt}"])[0]
        whole = [*prompt, *chat.encode([f" {e.completion}</s>"])[0]]
        with torch.no_grad():
            logprobs_TV = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
        expected = sum(logprobs_TV[i - 1, whole[i]].item() for i in range(len(prompt), len(whole)))
        assert made.reference_tokens == len(e.completion) + 2
        assert made.reference_logprob == pytest.approx(expected, abs=1e-4)
    assert answer(model, chat, examples, DECODING)[0].reference_tokens == 0


def test_where_choices_are_ranked_the_right_one_is_not_scored_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> list[Ranked]:
        calls.append(len(args[1]))
        return rank_choices(*args, **kwargs)

    monkeypatch.setattr(systems, "rank_choices", counted)
    monkeypatch.setattr(systems, "choice_logprobs", None)
    examples = [example(1, completion="no", choices=("yes", "no"))]
    found = answer(
        tiny_llama(),
        plain_chat(),
        examples,
        replace(DECODING, rank_choices=True, score_references=True),
    )
    assert calls == [1]
    assert found[0].reference_logprob == found[0].choice_logprobs[1]
    assert found[0].reference_tokens == len("no") + 2


def test_an_answer_that_the_ranking_has_shown_is_not_written_once_more() -> None:
    decoding = replace(DECODING, stop_ids=(1,), newline_ids=frozenset({13}), max_new_tokens=3)
    found, options = Ranked([-1.0, -2.0], greedy=1), [[5, 1], [6, 7, 1]]
    assert _greedy(found, options, decoding) == Generated([6, 7], True)
    assert _greedy(Ranked([-1.0, -2.0]), options, decoding) is None
    assert _greedy(found, options, replace(decoding, max_new_tokens=2)) is None, (
        "the budget ends it before it stops"
    )
    assert _greedy(found, [[5, 1], [6, 13, 1]], decoding) is None, "a line end ends it"
    assert _greedy(found, [[5, 1], [6, 7]], decoding) is None, "it does not end with a stop token"


def test_the_backend_of_the_recipe_generates_from_where_the_model_was_loaded(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = """
from pathlib import Path
from types import SimpleNamespace
SamplingParams = dict
class LLM:
    def __init__(self, model, **_): self.model = model
    def generate(self, requests, settings):
        ids = [3 + b for b in range(4)]
        Path("asked.txt").write_text(f"{self.model} {len(requests)}")
        answer = SimpleNamespace(token_ids=[*ids[:2], 1], finish_reason="stop")
        return [SimpleNamespace(outputs=[answer])] * len(requests)
"""
    (tmp_path / "vllm.py").write_text(fake)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.chdir(tmp_path)
    chat, model = plain_chat(), load_model(str(tiny_model_dir))
    found = answer(model, chat, [example(1), example(2)], replace(DECODING, backend="vllm"))
    assert (tmp_path / "asked.txt").read_text() == f"{tiny_model_dir} 2"
    assert [(p.example_id, p.stopped, p.num_tokens) for p in found] == [
        ("e1", True, 2),
        ("e2", True, 2),
    ]


def test_answers_in_bfloat16_are_those_of_a_copy_and_the_model_stays_as_it_is() -> None:
    model, examples = tiny_llama().train(), [example(i, choices=("no", "yes")) for i in range(3)]
    kept = {name: weight.clone() for name, weight in model.named_parameters()}
    copied = in_dtype(model, "bfloat16")
    assert copied.lm_head.weight is copied.model.embed_tokens.weight, "tied weights stay tied"
    assert {weight.dtype for weight in copied.parameters()} == {torch.bfloat16}
    assert copied.model.rotary_emb.inv_freq.dtype == torch.float32
    assert in_dtype(copied, "bfloat16") is copied
    half = replace(DECODING, dtype="bfloat16", rank_choices=True, score_references=True)
    assert answer(model, plain_chat(), examples, half) == answer(
        copied, plain_chat(), examples, half
    )
    assert model.training
    assert all(torch.equal(weight, kept[name]) for name, weight in model.named_parameters())


def test_each_task_has_its_own_budget_and_its_own_choices() -> None:
    model, chat = tiny_llama(), plain_chat()
    long = [replace(example(i, prompt="tell"), task="tell") for i in (1, 3)]
    short = [replace(example(i, choices=("yes", "no")), task="say") for i in (2, 4)]
    examples = [long[0], short[0], long[1], short[1]]
    tasks = {
        "tell": TaskDecoding(7, frozenset(), rank_choices=False),
        "say": TaskDecoding(3, frozenset(), rank_choices=True),
    }
    found = answer(model, chat, examples, with_tasks(DECODING, tasks))
    assert [p.example_id for p in found] == ["e1", "e2", "e3", "e4"]
    assert [p.num_tokens for p in found] == [7, 3, 7, 3]
    assert [len(p.choice_logprobs) for p in found] == [0, 2, 0, 2]
    alone = answer(model, chat, short, replace(DECODING, max_new_tokens=3, rank_choices=True))
    assert [p.text for p in alone] == [found[1].text, found[3].text]


def test_a_tasks_decoding_follows_from_its_own_training_answers() -> None:
    """A quarter more than the longest answer, two tokens at least; one line unless it has two."""
    examples = [
        replace(example(1, choices=("yes", "no")), task="say"),
        replace(example(2, completion="one\ntwo"), task="tell"),
    ]
    found = task_decodings(
        ["say", "tell", "new"], examples, [5, 16], plain_chat(), tiny_llama(), EvaluationConfig()
    )
    assert {name: own.max_new_tokens for name, own in found.items()} == {
        "say": 7,
        "tell": 20,
        "new": 20,
    }
    assert [bool(own.newline_ids) for own in found.values()] == [True, False, False]
    assert [own.rank_choices for own in found.values()] == [True, False, False]
