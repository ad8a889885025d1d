"""Choice likelihoods over a tree of prefixes equal one plain forward pass for each choice."""

from __future__ import annotations

import inspect
import math
import random
from typing import Any

import pytest
import torch
from random_models import VOCABULARY, counting, prompts_of, tiny

from tunesmith.errors import DataError, ModelError
from tunesmith.evaluate import forward
from tunesmith.evaluate import likelihood as module
from tunesmith.evaluate.generate import generate
from tunesmith.evaluate.likelihood import build_tree, choice_logprobs, rank_choices


def one_forward_per_choice(
    model: Any, prompts: list[list[int]], choices: list[list[list[int]]]
) -> list[list[float]]:
    result = []
    for prompt, options in zip(prompts, choices, strict=True):
        values = []
        for option in options:
            with torch.no_grad():
                logprobs = model(torch.tensor([prompt + option])).logits[0].double().log_softmax(-1)
            values.append(
                sum(logprobs[len(prompt) - 1 + i, token].item() for i, token in enumerate(option))
            )
        result.append(values)
    return result


def choices_of(n: int, seed: int = 0) -> list[list[int]]:
    """Choices that share beginnings, one that begins another, and a twin."""
    rng = random.Random(seed)
    drawn = [
        [rng.choice([3, 4])] + [rng.randrange(2, VOCABULARY) for _ in range(rng.randint(0, 5))]
        for _ in range(n)
    ]
    return [*drawn, drawn[0] + [7], drawn[0]]


def close(found: list[list[float]], expected: list[list[float]]) -> bool:
    assert [len(row) for row in found] == [len(row) for row in expected]
    return all(
        math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-5)
        for x, y in zip(found, expected, strict=True)
        for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3", "gemma3", "bloom", "mamba"])
@pytest.mark.parametrize("shared", [0, 20])
def test_likelihoods_are_those_of_one_forward_per_choice(kind: str, shared: int) -> None:
    model, prompts = tiny(kind), prompts_of(9, shared)
    choices = [choices_of(6)] * 6 + [choices_of(3, seed) for seed in range(3)]
    assert close(
        choice_logprobs(model, prompts, choices), one_forward_per_choice(model, prompts, choices)
    )


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_likelihoods_do_not_depend_on_batch_size_or_order(kind: str) -> None:
    model, prompts = tiny(kind, window=64), prompts_of(14, shared=9)
    choices = [choices_of(5, seed) for seed in range(14)]
    together = choice_logprobs(model, prompts, choices, batch_tokens=4096)
    assert close(choice_logprobs(model, prompts, choices, batch_tokens=1), together)
    assert close(choice_logprobs(model, prompts, choices, batch_tokens=150), together)
    assert close(choice_logprobs(model, prompts[::-1], choices[::-1]), together[::-1])


def test_logits_in_chunks_trees_in_parts_and_long_rows_alone_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, prompts, choices = (
        tiny("gemma3", window=64),
        prompts_of(6, shared=5),
        [choices_of(9)] * 6,
    )
    model.config.final_logit_softcapping = 3.0
    expected = one_forward_per_choice(model, prompts, choices)
    monkeypatch.setattr(forward, "MAX_LOGITS", 7 * VOCABULARY)
    monkeypatch.setattr(module, "MAX_TREE_TOKENS", 8)
    monkeypatch.setattr(module, "MAX_REST_TOKENS", 12)
    assert close(choice_logprobs(model, prompts, choices), expected)


def test_seventy_seven_labels_cost_a_fraction_of_their_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(0)
    labels = [[5, rng.randrange(4), rng.randrange(8), rng.randrange(40), 1] for _ in range(77)]
    prompts = prompts_of(8, shared=60)
    model, seen = tiny("llama"), []
    monkeypatch.setattr(module, "_trees_are_exact", lambda *_: True)
    model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    choice_logprobs(model, prompts, [labels] * 8)
    one_by_one = sum(77 * (len(prompt) + 5) for prompt in prompts)
    assert sum(seen) < one_by_one / 30
    assert seen[0] == 60


def test_the_head_sees_no_position_but_those_that_a_choice_goes_on_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_trees_are_exact", lambda *_: True)
    model, positions = tiny("llama"), []
    model.lm_head.register_forward_hook(
        lambda _, inputs, output: positions.append(output.shape[:-1].numel())
    )
    choices = [[5, 6, 7, 1], [5, 6, 8, 1], [9, 1]]  # after the prompt: 5, 6, 7, 8, 9
    choice_logprobs(model, [[3, 4, 5], [6, 7, 8, 9]], [choices] * 2)
    assert positions == [2 * (1 + 5)]


def test_a_tree_holds_common_beginnings_once_and_no_last_tokens() -> None:
    tree = build_tree([[8, 9, 1], [8, 9, 7, 1], [8, 1], [5, 1]])
    assert tree.tokens == [8, 9, 7, 5]
    assert tree.depths == [1, 2, 3, 1]
    assert tree.visible_TT.astype(int).tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [0, 0, 0, 1],
    ]
    edges = list(zip(tree.parents.tolist(), tree.targets.tolist(), strict=True))
    assert edges == [(0, 8), (1, 9), (2, 1), (2, 7), (3, 1), (1, 1), (0, 5), (4, 1)]
    assert tree.steps.tolist() == [0, 1, 2, 0, 1, 3, 4, 0, 5, 6, 7]
    assert tree.owners.tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3]

    ends = zip(tree.owners.tolist(), tree.ends.tolist(), strict=True)
    assert [owner for owner, end in ends if end] == [0, 1, 2, 3], "each choice ends once"


@pytest.mark.parametrize("kind", ["llama", "mamba"])
def test_likelihoods_without_the_last_token_are_those_of_the_choices_without_it(kind: str) -> None:
    """Read as a tree (llama) and choice by choice (mamba)."""
    model, prompts = tiny(kind), prompts_of(5, shared=9)
    stem = choices_of(6)
    found = rank_choices(model, prompts, [[[*option, 1] for option in stem]] * 5)
    expected = one_forward_per_choice(model, prompts, [stem] * 5)
    assert close([ranked.without_last for ranked in found], expected)
    assert rank_choices(model, [[3]], [[[4]]])[0].without_last == [0.0]


def test_a_choice_of_one_token_is_read_off_the_prompt() -> None:
    value = choice_logprobs(counting(), [[3]], [[[4], [9]]])[0]
    scale = math.sqrt(32) / math.sqrt(
        1 + 32e-6
    )  # the RMSNorm of a unit vector (eps 1e-6) is token 4's logit
    assert value[0] == pytest.approx(scale - math.log(math.exp(scale) + 31), abs=1e-5)
    assert value[1] == pytest.approx(-math.log(math.exp(scale) + 31), abs=1e-5)


def test_rows_without_choices_are_empty_and_no_rows_give_nothing() -> None:
    model = tiny("llama")
    assert choice_logprobs(model, [[3], [4]], [[], [[5]]])[0] == []
    assert choice_logprobs(model, [], []) == []


def test_progress_counts_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TREE_TOKENS", 8)
    seen: list[int] = []
    choice_logprobs(
        tiny("llama"),
        prompts_of(7),
        [sorted(choices_of(5), reverse=True)] * 7,
        batch_tokens=40,
        on_progress=seen.append,
    )
    assert sum(seen) == 7


def test_a_choice_without_tokens_is_refused() -> None:
    with pytest.raises(DataError, match="row 1: choice 2 has 0 tokens"):
        choice_logprobs(tiny("llama"), [[3], [3]], [[[4]], [[4], [5], []]])


def test_a_choice_that_does_not_fit_the_model_is_named_with_both_numbers() -> None:
    with pytest.raises(
        ModelError, match=r"row 0: 126 prompt tokens \+ 3 answer tokens, the model reads 128"
    ):
        choice_logprobs(tiny("llama"), [[3] * 126], [[[4], [4, 5, 6]]])


def test_a_model_that_ignores_the_tree_is_found_out_and_read_choice_by_choice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    model, prompts, choices = tiny("llama"), prompts_of(4, shared=5), [choices_of(4)] * 4
    expected = one_forward_per_choice(model, prompts, choices)
    plain = type(model).forward

    def without_mask(self: Any, *args: Any, attention_mask: Any = None, **kwargs: Any) -> Any:
        return plain(self, *args, **kwargs)

    without_mask.__signature__ = inspect.signature(plain)  # type: ignore[attr-defined]
    monkeypatch.setattr(type(model), "forward", without_mask)
    assert close(choice_logprobs(model, prompts, choices), expected)
    assert "LlamaForCausalLM cannot read choices as a tree" in caplog.text


def test_an_adapter_counts() -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    model = peft.get_peft_model(
        tiny("llama"), peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    model.eval()
    prompts, choices = prompts_of(4, shared=5), [choices_of(4)] * 4
    found = choice_logprobs(model, prompts, choices)
    assert close(found, one_forward_per_choice(model, prompts, choices))
    assert not close(found, one_forward_per_choice(tiny("llama"), prompts, choices))


def test_the_choice_that_greedy_decoding_writes_is_known_from_the_ranking() -> None:
    model = counting()
    prompts, choices = (
        [[3, 5]] * 3 + [[9]],
        [[[6, 7, 8], [7, 8]], [[7], [6, 7]], [[6, 8], [9]], [[10]]],
    )
    ranked = rank_choices(model, prompts, choices)
    assert [found.greedy for found in ranked] == [0, 1, None, 0]
    for prompt, options, found in zip(prompts, choices, ranked, strict=True):
        written = generate(model, [prompt], stop_ids=[], max_new_tokens=3)[0].ids
        wanted = next(
            (i for i, option in enumerate(options) if written[: len(option)] == option), None
        )
        assert found.greedy == wanted


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bloom"])
def test_ranking_finds_the_greedy_choice_of_random_models_as_generation_does(kind: str) -> None:
    model, prompts = tiny(kind), prompts_of(12, shared=3)
    written = [output.ids for output in generate(model, prompts, stop_ids=[], max_new_tokens=3)]
    choices = [
        [[5, 6], ids, [ids[0], 7, 8]] if i % 2 else [[5, 6], [ids[0], 9]]
        for i, ids in enumerate(written)
    ]
    ranked = rank_choices(model, prompts, choices)
    for ids, options, found in zip(written, choices, ranked, strict=True):
        wanted = next((i for i, option in enumerate(options) if ids[: len(option)] == option), None)
        assert found.greedy == wanted
