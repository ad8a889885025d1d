"""Words on disk: the same hashes as a loop over the text gives, in blocks of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.dedup import shingles as module
from tunesmith.data.dedup.exact import hash64
from tunesmith.data.dedup.shingles import MULTIPLIER, Block, Words, run_hashes, text_hashes

TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=8)


def hash_of(words: list[str]) -> int:
    value = 0
    for word in words:
        value = (value * int(MULTIPLIER) + hash64(word)) % 2**64
    return value


def only_block(texts: list[str]) -> Block:
    return next(Words.of(texts).blocks())


@settings(deadline=None, max_examples=60)
@given(TEXTS, st.integers(1, 4))
def test_run_hashes_are_those_of_a_loop(texts: list[str], n: int) -> None:
    expected = []
    for number, text in enumerate(texts):
        split = text.split()
        runs = [split[i : i + n] for i in range(len(split) - n + 1)] or ([split] if split else [])
        expected += [(number, hash_of(run)) for run in runs]
    found = [
        (block.first_row + text, run)
        for block in Words.of(texts).blocks()
        for run, text in zip(*(array.tolist() for array in run_hashes(block, n)), strict=True)
    ]
    assert sorted(found) == sorted(expected)


@settings(deadline=None, max_examples=60)
@given(TEXTS.filter(bool))
def test_text_hashes_are_those_of_a_loop(texts: list[str]) -> None:
    assert text_hashes(only_block(texts)).tolist() == [hash_of(text.split()) for text in texts]


def test_a_short_text_is_one_run_and_order_counts() -> None:
    def runs(text: str) -> set[int]:
        return set(run_hashes(only_block([text]), 5)[0].tolist())

    assert [len(runs(" ".join(text))) for text in ("abcdef", "aaaaaaa", "ab", "")] == [2, 1, 1, 0]
    assert runs("a b") != runs("b a")
    assert runs("x a b c d e") & runs("a b c d e")


@pytest.mark.parametrize(("rows", "most"), [(1, 100), (3, 100), (100, 5), (100, 1)])
def test_blocks_of_any_size_hold_every_row_once(
    rows: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a b c", "", "d", "e f g h i j k", "l", "", "m n"]
    whole = only_block(texts)
    monkeypatch.setattr(module, "BLOCK_ROWS", rows)
    monkeypatch.setattr(module, "BLOCK_WORDS", most)
    blocks = list(Words.of(texts).blocks())
    assert len(blocks) > 1
    assert [block.first_row for block in blocks] == np.cumsum(
        [0, *(len(b.lengths) for b in blocks[:-1])]
    ).tolist()
    assert np.concatenate([block.words for block in blocks]).tolist() == whole.words.tolist()
    assert np.concatenate([block.lengths for block in blocks]).tolist() == whole.lengths.tolist()


def test_a_selection_keeps_the_words_and_numbers_of_its_rows() -> None:
    words = Words.of(["zero", "one a", "", "three b c"])
    block, rows = next(words.blocks()).select(np.array([False, True, True, True]))
    assert rows.tolist() == [1, 2, 3]
    assert block.lengths.tolist() == [2, 0, 3]
    assert text_hashes(block).tolist() == [hash_of(["one", "a"]), 0, hash_of(["three", "b", "c"])]
