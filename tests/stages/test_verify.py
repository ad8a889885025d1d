"""A fresh process that loads the saved folder alone answers as it is stored, or the run says what
differs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import byte_tokenizer, tiny_llama

from tunesmith.chat.format import ChatFormat, chat_format, complete_tokenizer
from tunesmith.evaluate.systems import Decoding, answer
from tunesmith.models.save import save_model
from tunesmith.records import Example, Prediction
from tunesmith.stages import verify
from tunesmith.stages.verify import verify_folder

Saved = tuple[Path, ChatFormat, list[Example], list[Prediction]]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("saved") / "model"
    tokenizer, model = byte_tokenizer(), tiny_llama()
    complete_tokenizer(tokenizer)
    chat = chat_format(tokenizer)
    save_model(model, tokenizer, folder, chat.stop_ids(model), max_new_tokens=6)
    examples = [
        Example(str(i), str(i), "t", f"{i} is it good?" * (1 + i % 3), "yes") for i in range(40)
    ]
    decoding = Decoding(6, (chat.stop_id,), frozenset(), 512, rank_choices=False)
    return folder, chat, examples, answer(model, chat, examples, decoding)


def test_a_saved_model_gives_every_stored_answer(
    saved: Saved,
) -> None:
    found = verify_folder(*saved)
    assert (found.rows, found.answers_equal + found.ties, found.differences) == (32, 32, ())


def test_what_differs_is_named(saved: Saved) -> None:
    folder, chat, examples, predictions = saved
    changed = [replace(predictions[0], text="another answer", stopped=True), *predictions[1:]]
    found = verify_folder(folder, chat, [replace(examples[0], id="first"), *examples[1:]], changed)
    assert len(found.differences) == 1
    assert found.differences[0].startswith("row first: the answer is ")
    assert "stored 'another answer'" in found.differences[0]


def test_a_tie_is_looked_for_where_the_stored_tokens_part_not_where_the_text_would(
    saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, chat, examples, predictions = saved
    monkeypatch.setitem(verify.TIE, "float32", 1e9)  # any two tokens are as likely
    changed = replace(predictions[0], text="another answer", stopped=False)
    assert changed.token_ids
    [difference] = verify_folder(folder, chat, examples[:1], [changed]).differences
    assert "stored 'another answer'" in difference  # the tokens do not part at all
    older = replace(changed, token_ids=())
    assert verify_folder(folder, chat, examples[:1], [older]).ties == 1


def test_an_answer_that_stopped_earlier_at_a_tie_is_a_tie(
    saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, chat, examples, predictions = saved
    monkeypatch.setitem(verify.TIE, "float32", 1e9)
    whole = predictions[0]
    assert len(whole.token_ids) > 2
    beginning = chat.tokenizer.decode(whole.token_ids[:2]).strip()
    shorter = replace(whole, text=beginning, token_ids=whole.token_ids[:2], stopped=True)
    found = verify_folder(folder, chat, examples[:1], [shorter])
    assert (found.ties, found.differences) == (1, ())


def test_a_prompt_that_is_served_differently_is_named(
    saved: Saved,
) -> None:
    folder, _, examples, predictions = saved
    shorter = byte_tokenizer(bos=False)
    complete_tokenizer(shorter)
    [difference] = verify_folder(
        folder, chat_format(shorter), examples[:1], predictions[:1]
    ).differences
    assert "the prompt's ids are others" in difference


def test_a_folder_that_does_not_load_is_a_difference(saved: Saved, tmp_path: Path) -> None:
    found = verify_folder(tmp_path, *saved[1:])
    assert found.answers_equal == 0
    assert "does not load in a fresh process" in found.differences[0]
