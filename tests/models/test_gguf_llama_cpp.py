"""llama.cpp splits texts and answers from a file that was written as transformers does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_models import READ_BACK, TEXTS, VARIANTS, ids_of, model, tokenizer, written

from tunesmith.chat.format import chat_format, complete_tokenizer
from tunesmith.evaluate.generate import generate
from tunesmith.models.gguf_tokenizer import SPLITTING, tokenizer_fields
from tunesmith.models.gguf_write import write_gguf
from tunesmith.models.load import load_model, load_tokenizer
from tunesmith.recipe import BUILT_IN_MODEL

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
ROOT = Path(__file__).parents[2]
BUDGET = 12
NEAR = 0.02
"""How far a token's logit may be below the largest: llama.cpp looks GELU up in a table of float16.
"""
HARD = [
    "naïve café ÉCOLE École, über Straße; 1234567 12 123 1,234.56",
    "日本語テキスト。中文,句子！ हिन्दी नमस्ते العربية ١٢٣ ²³¼",
    "they're WE'LL don't ($5+3=8) ^~|` a_b\r\n\n  \t x  <|think|> 😀👍🏽\u00a0\u3000end ",
]


def llama_cpp(file: Path, texts: list[str], prompts: list[list[int]]) -> Any:
    request = {"texts": texts, "prompts": prompts, "budget": BUDGET}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "llama_cpp_answers.py"), str(file)],
        input=json.dumps(request), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


EVERY = [(kind, pre, tied, {}) for kind, pre, _, tied in READ_BACK]
CHANGED = [(kind, "qwen2", tied, changes) for kind, tied, changes in VARIANTS]


@pytest.mark.parametrize("kind, pre, tied, changes", EVERY + CHANGED)
def test_llama_cpp_answers_as_the_model_does(
    tmp_path: Path, kind: str, pre: str, tied: bool, changes: dict[str, Any]
) -> None:
    found, tokens, file = model(kind, tied, **changes), tokenizer(pre), tmp_path / "m.gguf"
    written(found, tokens, file, "float32")
    prompts = ids_of(tokens)
    theirs = llama_cpp(file, TEXTS, prompts)
    assert theirs["texts"] == prompts
    for prompt, answer in zip(prompts, theirs["prompts"], strict=True):
        assert len(answer) == BUDGET
        with torch.no_grad():
            logits = found(input_ids=torch.tensor([prompt + answer])).logits[
                0, len(prompt) - 1 : -1
            ]
        logits[:, 1] = -torch.inf  # the end, which is ignored
        taken = logits.gather(1, torch.tensor(answer)[:, None])[:, 0]
        assert (logits.max(dim=1).values - taken).max() < NEAR


@pytest.mark.parametrize("pre", SPLITTING)
def test_llama_cpp_splits_texts_as_the_tokenizer_does(tmp_path: Path, pre: str) -> None:
    tokens, file = tokenizer(pre, HARD), tmp_path / "m.gguf"
    assert written(model("llama"), tokens, file, "float32").pre == pre
    ours = [tokens(text, add_special_tokens=False)["input_ids"] for text in HARD]
    assert llama_cpp(file, HARD, [])["texts"] == ours


def test_llama_cpp_gives_the_built_in_models_token_ids_and_answers(tmp_path: Path) -> None:
    found, tokens = load_model(BUILT_IN_MODEL), load_tokenizer(BUILT_IN_MODEL)
    complete_tokenizer(tokens)
    chat, file = chat_format(tokens), tmp_path / "m.gguf"
    stops = chat.stop_ids()
    fields = tokenizer_fields(tokens, stops, found.config.vocab_size)
    write_gguf(found, fields, file, "float32", "t")
    texts = [chat.prompt_text(text) for text in ("Broke after a day in 2024.", "naïve 日本語 3.14")]
    ours = chat.encode(texts)
    theirs = llama_cpp(file, texts, ours)
    assert theirs["texts"] == ours
    for answer, found_ids in zip(
        generate(found, ours, stop_ids=stops, max_new_tokens=BUDGET), theirs["prompts"], strict=True
    ):
        written_ids = [i for i in answer.ids if i not in stops]
        assert found_ids[: len(written_ids)] == written_ids
