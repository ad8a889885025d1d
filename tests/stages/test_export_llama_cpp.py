"""llama.cpp answers from an exported file what transformers answers from the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tunesmith.chat.format import chat_format, complete_tokenizer
from tunesmith.evaluate.generate import generate
from tunesmith.models.gguf_tokenizer import tokenizer_fields
from tunesmith.models.gguf_write import write_gguf
from tunesmith.models.load import load_model, load_tokenizer
from tunesmith.recipe import BUILT_IN_MODEL

pytest.importorskip("gguf")
llama_cpp = pytest.importorskip("llama_cpp")
TEXTS = ["Broke after a day in 2024.", "I've loved it,  every\n\nminute!", "naïve 日本語 3.14"]


def test_llama_cpp_gives_the_same_token_ids_and_answers(tmp_path: Path) -> None:
    model, tokenizer = load_model(BUILT_IN_MODEL), load_tokenizer(BUILT_IN_MODEL)
    complete_tokenizer(tokenizer)
    chat, file = chat_format(tokenizer), tmp_path / "m.gguf"
    stops = chat.stop_ids()
    write_gguf(
        model, tokenizer_fields(tokenizer, stops, model.config.vocab_size), file, "float32", "t"
    )
    ours = chat.encode([chat.prompt_text(text) for text in TEXTS])
    answers = generate(model, ours, stop_ids=stops, max_new_tokens=12)
    theirs = llama_cpp.Llama(str(file), n_ctx=256, n_threads=1, verbose=False)
    for text, ids, answer in zip(TEXTS, ours, answers, strict=True):
        assert theirs.tokenize(chat.prompt_text(text).encode(), special=True) == ids
        theirs.reset()
        written: list[int] = []
        for token in theirs.generate(ids, temp=0.0, repeat_penalty=1.0):
            if token in stops or len(written) == 12:
                break
            written.append(token)
        assert written == [i for i in torch.tensor(answer.ids).tolist() if i not in stops]
