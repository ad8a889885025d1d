"""Bits per byte against hand computation, and what of a change can be told from n texts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import byte_tokenizer, tiny_llama

from tunesmith.errors import DataError
from tunesmith.evaluate.retention import TextScore, bits_per_byte, compare_panel, read_texts

TEXTS = ["The ferryman had one eye.", "Zwölf Boxkämpfer", "a"]


def uniform() -> Any:
    model = tiny_llama()
    model.lm_head.weight.data = torch.zeros(259, 32)
    return model


def test_a_model_that_knows_nothing_needs_the_logarithm_of_its_vocabulary() -> None:
    # one token a byte, 259 tokens: log2(259) bits each
    scores = bits_per_byte(uniform(), byte_tokenizer(), TEXTS)
    assert [score.num_bytes for score in scores] == [25, 18, 1]
    assert [score.nll / math.log(2) / score.num_bytes for score in scores] == pytest.approx(
        [math.log2(259)] * 3
    )


def test_likelihoods_are_those_of_the_models_own_loss() -> None:
    model, tokenizer = tiny_llama(), byte_tokenizer()
    for text, score in zip(TEXTS, bits_per_byte(model, tokenizer, TEXTS), strict=True):
        ids = tokenizer(text, return_tensors="pt").input_ids
        mean = model(ids, labels=ids).loss.item()
        assert score.nll == pytest.approx(mean * (ids.shape[1] - 1), rel=1e-5)


@pytest.mark.parametrize("size", [2, 5, 8, 25, 26, 27])
def test_a_long_text_is_scored_once_with_half_a_window_of_context(size: int) -> None:
    model, tokenizer = tiny_llama(), byte_tokenizer()
    ids = tokenizer(TEXTS[0]).input_ids
    expected = 0.0
    for place in range(1, len(ids)):
        # the first window that holds the token; they start every size // 2
        start = max(0, math.ceil((place + 1 - size) / (size // 2)) * (size // 2))
        assert place - start >= min(place, size // 2)
        with torch.no_grad():
            logits = model(torch.tensor([ids[start:place]])).logits[0, -1]
        expected -= logits.log_softmax(-1)[ids[place]].item()
    score = bits_per_byte(model, tokenizer, TEXTS[:1], window=size)[0]
    assert score.nll == pytest.approx(expected, rel=1e-5)


def test_likelihoods_do_not_depend_on_the_batch() -> None:
    model, tokenizer = tiny_llama(), byte_tokenizer()
    together = bits_per_byte(model, tokenizer, TEXTS, window=16)
    alone = [
        bits_per_byte(model, tokenizer, [text], window=16, batch_tokens=1)[0] for text in TEXTS
    ]
    assert [score.nll for score in together] == pytest.approx(
        [score.nll for score in alone], rel=1e-5
    )


def test_a_tokenizer_without_a_begin_token_starts_after_its_end_token() -> None:
    model, tokenizer = tiny_llama(), byte_tokenizer(bos=False)
    tokenizer.bos_token = None
    score = bits_per_byte(model, tokenizer, ["a"])[0]
    with torch.no_grad():
        logits = model(torch.tensor([[tokenizer.eos_token_id]])).logits[0, -1]
    assert score.nll == pytest.approx(
        -logits.log_softmax(-1)[tokenizer("a").input_ids[0]].item(), rel=1e-5
    )


def test_progress_counts_every_text_once() -> None:
    seen: list[int] = []
    bits_per_byte(
        uniform(), byte_tokenizer(), TEXTS, window=8, batch_tokens=16, on_progress=seen.append
    )
    assert sum(seen) == 3


def scores(bits: list[float], num_bytes: list[int]) -> list[TextScore]:
    return [TextScore(b * n * math.log(2), n) for b, n in zip(bits, num_bytes, strict=True)]


def test_the_change_weighs_texts_by_their_bytes() -> None:
    # (1.0 * 100 + 2.0 * 300) / 400 = 1.75 before, (1.5 * 100 + 2.0 * 300) / 400 = 1.875 after
    change = compare_panel(scores([1.0, 2.0], [100, 300]), scores([1.5, 2.0], [100, 300]))
    assert (change.before, change.after, change.difference) == pytest.approx((1.75, 1.875, 0.125))
    assert change.n == 2


def test_the_same_model_twice_shows_no_change() -> None:
    same = scores([1.0, 2.0, 3.0], [10, 20, 30])
    change = compare_panel(same * 3, same * 3)
    assert change.difference == 0.0
    assert all(map(math.isnan, (*change.ci, change.detectable)))
    assert change.note == "no row differs"


def test_texts_that_all_lose_the_same_are_sure_and_mixed_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(1, 3, 50)
    lengths = [500] * 50
    sure = compare_panel(
        scores(before.tolist(), lengths),
        scores((before + 0.1 + rng.normal(0, 0.01, 50)).tolist(), lengths),
    )
    mixed = compare_panel(
        scores(before.tolist(), lengths), scores((before + rng.normal(0, 1, 50)).tolist(), lengths)
    )
    assert 0.09 < sure.ci[0] < sure.ci[1] < 0.11
    assert mixed.ci[0] < 0 < mixed.ci[1]
    # equal lengths: the mean of 50 differences of sd 1, so (1.96 + 0.84) / sqrt(50) = 0.396
    assert mixed.detectable == pytest.approx(0.396, rel=0.25)


def test_scores_of_other_texts_are_refused() -> None:
    with pytest.raises(
        DataError, match="the 1 texts before and the 2 texts after training are not the same"
    ):
        compare_panel(scores([1.0], [5]), scores([1.0, 1.0], [5, 5]))


def test_a_file_is_cut_at_paragraphs_and_nothing_of_it_is_lost_but_a_short_end(
    tmp_path: Path,
) -> None:
    short, long, huge = "word " * 30, "word " * 100, "word " * 2000
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join([short, short, short, long, huge, "the end"]))
    pieces = read_texts(path)
    assert [len(piece) for piece in pieces[:2]] == [
        451,
        499,
    ]  # three short ones joined by blank lines; one long
    assert all(400 <= len(piece) <= 4000 for piece in pieces)
    assert sum(piece.count("word") for piece in pieces) == 3 * 30 + 100 + 2000


def test_a_long_file_gives_pieces_spread_over_it(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(f"{i} " + "x" * 400 for i in range(100)))
    assert [piece.split()[0] for piece in read_texts(path, limit=4)] == ["0", "25", "50", "75"]


@pytest.mark.parametrize(
    "content, message",
    [(b"\xff\xfe\x00", "cannot be read as text"), (b"x" * 500, "1 pieces of at least 400")],
)
def test_a_file_without_enough_text_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_texts(path)
