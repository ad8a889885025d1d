"""The tuned model as one .gguf file for llama.cpp, which stays only if it is read back the same."""

from __future__ import annotations

from pathlib import Path

from tunesmith.chat.format import ChatFormat
from tunesmith.data.store import read_examples
from tunesmith.errors import ModelError, RunError
from tunesmith.models.gguf_check import difference
from tunesmith.models.gguf_tokenizer import HINT, tokenizer_fields
from tunesmith.models.gguf_write import check_writable, round_weights, write_gguf
from tunesmith.models.load import load_config
from tunesmith.progress import note, progress
from tunesmith.records import Unserved
from tunesmith.rundir import RunDir, appearing
from tunesmith.stages.common import load_tuned, run_recipe, sample, tuned_chat

PROMPTS = 16
"""How many test prompts' token ids are compared."""


def check_gguf(run: RunDir) -> None:
    """ModelError where this run's model cannot be a .gguf file; no weights are loaded."""
    recipe = run_recipe(run)
    config = load_config(str(run.model), recipe.trust_remote_code)
    check_writable(config)
    chat = tuned_chat(run, recipe)
    tokenizer_fields(chat.tokenizer, chat.stop_ids(), config.vocab_size)


def export_gguf(run: RunDir, file: Path, dtype: str) -> None:
    """Write the file; RunError where what is read back from it is not the model."""
    recipe = run_recipe(run)
    chat = tuned_chat(run, recipe)
    with progress(f"writing the model in {dtype}"):
        model = load_tuned(run, recipe, "float32", "cpu")
        fields = tokenizer_fields(chat.tokenizer, chat.stop_ids(model), model.config.vocab_size)
        round_weights(model, dtype)
        texts = _prompts(run, chat)
        file.parent.mkdir(parents=True, exist_ok=True)
        with appearing(file) as temporary:
            write_gguf(model, fields, temporary, dtype, f"{run.path.resolve().name} (tunesmith)")
            try:
                found = difference(temporary, model, fields, texts, chat.encode(texts))
            except ModelError as error:
                found = error.message.removeprefix(f"{temporary}: ")
            if found:
                raise RunError(f"{file}: not written, as it is not the model: {found}", hint=HINT)
    note(
        f"read back by transformers: every tensor is equal, and so are the token ids of "
        f"{len(texts)} test prompts"
    )


def _prompts(run: RunDir, chat: ChatFormat) -> list[str]:
    prompts = chat.prompts(sample(read_examples(run.examples("test")), PROMPTS))
    return [text for text in prompts if not isinstance(text, Unserved)]
