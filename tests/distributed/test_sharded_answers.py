"""A model that stays sharded answers as it does in one process."""

from __future__ import annotations

import time

import numpy as np
import pytest
from answers_on_ranks import (
    PROMPTS,
    answered,
    answered_in_step,
    error_on_one_rank,
    layers_run_twice,
    logits,
    looped,
    passes_that_fail,
    texts_read_by_the_leader,
)
from loss_oracle import ARCHITECTURES, build
from on_ranks import on_ranks
from support import byte_tokenizer, tiny_llama

from tunesmith.evaluate.forward import in_dtype
from tunesmith.evaluate.retention import bits_per_byte

FEW = ["gemma3", "gpt2", "llama_tied"]
MANY = pytest.param(4, marks=pytest.mark.sweep)


@pytest.mark.parametrize("number", [2, MANY])
@pytest.mark.parametrize(
    "names", [FEW, pytest.param(sorted(ARCHITECTURES), marks=pytest.mark.sweep)], ids=len
)
def test_answers_and_likelihoods_are_those_of_one_process(number: int, names: list[str]) -> None:
    alone = {name: answered(build(name)) for name in names}
    for rank in on_ranks(number, answered_in_step, names):
        for name in names:
            first, second, in_parts = rank[name]
            assert in_parts
            for found in (first, second):
                for (written, ranked), (one, likelihoods) in zip(found, alone[name], strict=True):
                    assert (written.ids, written.stopped) == (one.ids, one.stopped), name
                    assert ranked.logprobs == pytest.approx(likelihoods.logprobs, abs=1e-4), name
                    assert ranked.greedy == likelihoods.greedy


def test_answers_in_bfloat16_are_those_of_one_process() -> None:
    alone = answered(in_dtype(build("llama"), "bfloat16"))
    for rank in on_ranks(2, answered_in_step, ["llama"], "bfloat16"):
        found, _, in_parts = rank["llama"]
        assert in_parts
        for (_, ranked), (_, one) in zip(found, alone, strict=True):
            assert ranked.logprobs == pytest.approx(one.logprobs, rel=0.02)


def test_what_the_leader_reads_alone_needs_the_weights_of_all() -> None:
    tokenizer, texts = byte_tokenizer(), ["a text of some length", "and another one" * 9]
    found, other = on_ranks(2, texts_read_by_the_leader, tokenizer, texts)
    one = [score.nll for score in bits_per_byte(tiny_llama(), tokenizer, texts)]
    assert found == pytest.approx(one, abs=1e-4)
    assert other is None


@pytest.mark.parametrize("failing", [0, -1])
def test_a_pass_that_fails_on_one_rank_does_not_put_the_others_out_of_step(failing: int) -> None:
    first, last = on_ranks(2, passes_that_fail, failing)
    expected = logits(tiny_llama(), PROMPTS[:6])
    assert np.allclose(first, expected[:2], atol=1e-5)
    assert [i for i, row in enumerate(last) if not row] == [1, 2]
    assert np.allclose(
        [last[i] for i in (0, 3, 4, 5)], [expected[i] for i in (0, 3, 4, 5)], atol=1e-5
    )


def test_a_model_may_run_its_layers_more_than_once() -> None:
    first, second = on_ranks(2, layers_run_twice)
    expected = logits(looped(tiny_llama()), PROMPTS[:3])
    assert np.abs(np.array(expected) - logits(tiny_llama(), PROMPTS[:3])).max() > 0.01
    assert np.allclose(first, expected, atol=1e-5)
    assert np.allclose(second, expected[:1], atol=1e-5)


def test_an_error_on_one_rank_is_told_within_a_minute() -> None:
    started = time.monotonic()
    with pytest.raises(AssertionError, match=r"this row cannot be answered|has lost another"):
        on_ranks(2, error_on_one_rank)
    assert time.monotonic() - started < 60
