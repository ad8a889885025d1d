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
from tunesmith.evaluate.systems import Decoding, _greedy, answer
from tunesmith.models.load import load_model

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
