"""Greedy answers are those of transformers' own generate, row by row, whatever the batch."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from random_models import VOCABULARY, counting, prompts_of, tiny

from tunesmith.errors import DataError, InputError, ModelError
from tunesmith.evaluate import generate as generate_module
from tunesmith.evaluate.caching import ordinary
from tunesmith.evaluate.forward import prefix_groups, token_batches
from tunesmith.evaluate.generate import Generated, _slots_for, generate, generate_vllm
from tunesmith.evaluate.likelihood import choice_logprobs
from tunesmith.evaluate.slots import Slots

STOP = 1
Slots_mask = Slots.mask
COUNTING_VLLM = """
from types import SimpleNamespace
SamplingParams = dict
class LLM:
    def __init__(self, **_): pass
    def generate(self, requests, settings):
        last = [request["prompt_token_ids"][-1] for request in requests]
        counted = [list(range(n + 1, n + 1 + s["max_tokens"])) for n, s in zip(last, settings)]
        answers = [SimpleNamespace(token_ids=i, finish_reason="length") for i in counted]
        return [SimpleNamespace(outputs=[answer]) for answer in answers]
"""


def row_by_row(
    model: Any, prompts: list[list[int]], stops: list[int], budget: int
) -> list[Generated]:
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=budget,
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=0,
        )
        answer = out[0, len(prompt) :].tolist()
        stopped = answer[-1] in stops
        answers.append(Generated(answer[:-1] if stopped else answer, stopped))
    return answers


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3", "qwen3", "bloom", "mamba"])
@pytest.mark.parametrize("shared", [0, 25])
def test_answers_are_those_of_transformers_generate_row_by_row(kind: str, shared: int) -> None:
    model, prompts = tiny(kind), prompts_of(10, shared)
    free = row_by_row(model, prompts, [STOP], budget=12)
    stops = [
        next(token for token in free[0].ids[2:] if any(token not in answer.ids for answer in free))
    ]
    expected = row_by_row(model, prompts, stops, budget=12)
    assert {answer.stopped for answer in expected} == {True, False}, "both ways to end must be seen"
    assert generate(model, prompts, stop_ids=stops, max_new_tokens=12) == expected


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3", "qwen3"])
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("shared", [20, 0])
def test_rows_take_the_slots_of_rows_that_are_answered(
    kind: str, shared: int, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def recorded(*args: Any) -> Slots:
        made.append(Slots(*args))
        return made[-1]

    model, prompts, stops = tiny(kind, window=64), prompts_of(13, shared), [5, 15, 19, 31, 47]
    budgets = [1 + row % 9 for row in range(13)]
    monkeypatch.setattr("tunesmith.evaluate.generate.Slots", recorded)
    exact = generate_module._slots_are_exact
    monkeypatch.setattr(
        generate_module, "_slots_are_exact", lambda *a, **k: k["apart"] is apart and exact(*a, **k)
    )
    expected = [
        row_by_row(model, [prompt], stops, budget)[0]
        for prompt, budget in zip(prompts, budgets, strict=True)
    ]
    assert (
        generate(model, prompts, stop_ids=stops, max_new_tokens=budgets, batch_rows=4) == expected
    )
    assert (made[-1].apart, made[-1].shared) == (apart, shared)
    assert generate(model, prompts, stop_ids=stops, max_new_tokens=budgets) == expected


def test_a_model_is_tried_out_on_no_control_tokens() -> None:
    ids = ordinary(tiny("llama"), range(2, 14))
    assert len(set(ids)) == 12
    assert min(ids) > VOCABULARY // 4
    assert max(ids) < VOCABULARY * 3 // 4


def test_a_model_that_ignores_the_mask_answers_without_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, prompts = tiny("llama"), prompts_of(6, shared=20)
    expected = generate(model, prompts, stop_ids=[STOP], max_new_tokens=5)
    monkeypatch.setattr(Slots, "mask", lambda self, dtype: Slots_mask(self, dtype) * 0)
    another = copy.deepcopy(model)  # what was tried is known of a model
    assert generate(another, prompts, stop_ids=[STOP], max_new_tokens=5) == expected


def test_slots_of_half_the_length_are_more_where_the_long_ones_can_be_filled() -> None:
    lengths = [100, 90, 30, 20, 20, 10]
    assert list(_slots_for(range(6), lengths, most=8, batch_tokens=200)) == [
        (2, [0, 1]),
        (4, [2, 3, 4, 5]),
    ]
    assert list(_slots_for(range(6), lengths, most=8, batch_tokens=800)) == [
        (6, [0, 1, 2, 3, 4, 5])
    ]
    assert list(_slots_for([2, 5], lengths, most=8, batch_tokens=1)) == [(1, [2]), (1, [5])]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_answers_do_not_depend_on_batch_size_or_order(kind: str) -> None:
    model, prompts = tiny(kind, window=12), prompts_of(14, shared=9)
    ends = {"stop_ids": [5, 15, 19], "max_new_tokens": 10}
    together = generate(model, prompts, batch_tokens=4096, **ends)
    assert generate(model, prompts, batch_tokens=1, **ends) == together
    assert generate(model, prompts, batch_tokens=150, **ends) == together
    assert generate(model, prompts[::-1], **ends) == together[::-1]


def test_wordings_with_their_own_beginnings_share_each_their_own() -> None:
    a, b = prompts_of(9, shared=30, seed=1), prompts_of(9, shared=30, seed=2)
    alone = prompts_of(2, seed=3)
    mixed = [prompt for pair in zip(a, b, strict=True) for prompt in pair] + alone
    assert prefix_groups(mixed) == [
        (0, [18, 19]),
        (30, list(range(0, 18, 2))),
        (30, list(range(1, 18, 2))),
    ]
    model = tiny("llama")
    assert generate(model, mixed, stop_ids=[STOP], max_new_tokens=6) == [
        generate(model, [prompt], stop_ids=[STOP], max_new_tokens=6)[0] for prompt in mixed
    ]


def test_a_shared_prefix_leaves_every_prompt_a_token() -> None:
    assert prefix_groups([[4, 5, 6], [4, 5]]) == [(1, [0, 1])]
    assert prefix_groups([[4, 5, 6], [4, 5, 6]]) == [(2, [0, 1])]
    assert prefix_groups([[4], [5]]) == [(0, [0, 1])]
    assert prefix_groups([]) == []


def test_batches_are_padded_to_at_most_the_budget() -> None:
    lengths = [3, 9, 4, 20, 3]
    assert list(token_batches([0, 1, 2, 4], lengths, 18)) == [[1, 2], [0, 4]]
    assert list(token_batches([3, 0], lengths, 18)) == [[3], [0]]


def test_an_answer_ends_at_the_stop_token_which_it_does_not_hold() -> None:
    answers = generate(counting(), [[3], [7, 5]], stop_ids=[8], max_new_tokens=9)
    assert answers == [Generated([4, 5, 6, 7], True), Generated([6, 7], True)]


def test_an_answer_that_the_budget_ends_has_not_stopped() -> None:
    answers = generate(counting(), [[3], [5]], stop_ids=[8], max_new_tokens=[2, 3])
    assert answers == [Generated([4, 5], False), Generated([6, 7], True)]


def test_a_line_end_ends_an_answer_but_only_after_text_and_is_no_stop() -> None:
    answers = generate(
        counting(), [[3], [7]], stop_ids=[20], newline_ids=[4, 6, 8], max_new_tokens=9
    )
    assert answers == [
        Generated([4, 5, 6], False),
        Generated([8, 9, 10, 11, 12, 13, 14, 15, 16], False),
    ]


def test_progress_counts_every_row_once() -> None:
    seen: list[int] = []
    generate(
        counting(),
        [[3]] * 5,
        stop_ids=[5],
        max_new_tokens=4,
        batch_tokens=10,
        on_progress=seen.append,
    )
    assert seen == [2, 2, 1]


def test_a_training_model_answers_without_dropout_and_stays_in_training() -> None:
    model, prompts = tiny("gpt2").train(), prompts_of(4)
    first = generate(model, prompts, stop_ids=[STOP], max_new_tokens=6)
    assert generate(model, prompts, stop_ids=[STOP], max_new_tokens=6) == first
    assert model.training


def test_an_adapters_answers_are_those_of_transformers_generate() -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(
        tiny("llama"), peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    prompts = prompts_of(5, shared=4)
    expected = row_by_row(model.eval(), prompts, [STOP], budget=8)
    assert generate(model, prompts, stop_ids=[STOP], max_new_tokens=8) == expected


def test_a_prompt_too_long_for_the_model_is_named_with_both_numbers() -> None:
    with pytest.raises(
        ModelError, match=r"row 1: 120 prompt tokens \+ 9 answer tokens, the model reads 128"
    ):
        generate(tiny("llama"), [[3], [3] * 120], stop_ids=[STOP], max_new_tokens=9)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(DataError, match="row 1: a prompt of 0 tokens"):
        generate(tiny("llama"), [[3], []], stop_ids=[STOP], max_new_tokens=9)


def test_no_prompts_give_no_answers() -> None:
    assert generate(tiny("llama"), [], stop_ids=[STOP], max_new_tokens=9) == []


def test_vllm_gives_the_same_kind_of_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vllm.py").write_text(COUNTING_VLLM)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    ends: dict[str, Any] = {"stop_ids": [8], "newline_ids": [12], "max_new_tokens": 4}
    prompts = [[3], [9], [20]]
    assert generate_vllm("folder", prompts, **ends) == generate(counting(), prompts, **ends)


def test_without_vllm_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(
        InputError, match=r"evaluation\.backend is vllm, which is not installed\nhint: pip install"
    ):
        generate_vllm("folder", [[3]], stop_ids=[1], max_new_tokens=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shared", [[], [5, 9, 11, 13]])
def test_a_references_likelihood_that_is_read_with_the_prompt_is_that_of_its_own_pass(
    shared: list[int], dtype: torch.dtype
) -> None:
    model = tiny("llama").to(dtype)
    prompts = [[*shared, *(3 + (7 * i + j) % 17 for j in range(1 + i % 5))] for i in range(9)]
    references = [[4 + (3 * i + j) % 13 for j in range(1 + i % 4)] for i in range(9)]
    ends = {"stop_ids": [STOP], "max_new_tokens": 4, "batch_rows": 4}
    alone = generate(model, prompts, **ends)
    together = generate(model, prompts, references=references, **ends)
    assert [(one.ids, one.stopped) for one in together] == [(one.ids, one.stopped) for one in alone]
    expected = choice_logprobs(model, prompts, [[ids] for ids in references])
    found = [one.reference_logprob for one in together]
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    assert found == pytest.approx([one for (one,) in expected], abs=tolerance)
    assert all(one.reference_logprob is None for one in alone)
