"""What a base tokenizer lacks, how the answer begins and ends, and folders that are refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import byte_tokenizer, save, shared, tiny_llama

from tunesmith.chat.format import complete_tokenizer
from tunesmith.errors import ModelError
from tunesmith.models.load import (
    fingerprint,
    fit_embeddings,
    load_model,
    load_tokenizer,
    resolve_model,
)


def test_a_missing_pad_token_is_added_and_the_embeddings_grow() -> None:
    tokenizer, model = byte_tokenizer(pad=False), tiny_llama()
    complete_tokenizer(tokenizer)
    fit_embeddings(model, tokenizer)
    assert tokenizer.pad_token == "<|pad|>"
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) == 260


def test_a_saved_model_loads_again_with_its_stop_and_pad_tokens(tmp_path: Path) -> None:
    tokenizer, model = byte_tokenizer(pad=False), tiny_llama()
    complete_tokenizer(tokenizer)
    fit_embeddings(model, tokenizer)
    save(model, tokenizer, tmp_path / "model", 7)
    again = load_model(str(tmp_path / "model"))
    assert again.generation_config.eos_token_id == 1
    assert again.generation_config.pad_token_id == 259
    assert again.generation_config.max_new_tokens == 7
    assert load_tokenizer(str(tmp_path / "model")).chat_template


def test_stories260k_is_completed_without_growing() -> None:
    tokenizer = load_tokenizer(str(shared("models", "stories260K")))
    notes = complete_tokenizer(tokenizer)
    assert len(tokenizer) == 512
    assert tokenizer.pad_token == "<unk>"
    assert len(notes) == 2


@pytest.mark.parametrize(
    "files, message",
    [((), "no config.json"), (("config.json", "pytorch_model.bin"), "no .safetensors file")],
)
def test_a_folder_without_a_safetensors_model_is_refused(
    tmp_path: Path, files: tuple[str, ...], message: str
) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ModelError, match=message):
        resolve_model(str(tmp_path))


def test_a_misspelt_folder_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "smollm").mkdir()
    with pytest.raises(ModelError, match="did you mean 'smollm'"):
        resolve_model(str(tmp_path / "smolm"))


def test_a_fingerprint_changes_with_the_weights_and_a_hub_id_is_its_own(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model_dir, copy)
    assert fingerprint(str(copy)) == fingerprint(str(tiny_model_dir))
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    different = {
        name
        for name, value in fingerprint(str(copy)).items()
        if fingerprint(str(tiny_model_dir))[name] != value
    }
    assert different == {"model.safetensors"}
    assert fingerprint("HuggingFaceTB/SmolLM2-135M") == {"hub id": "HuggingFaceTB/SmolLM2-135M"}


def test_loading_a_model_prints_nothing_whatever_is_installed_beside_it() -> None:
    code = (
        "from tunesmith.models.load import *; load_tokenizer(BUILT_IN_MODEL), "
        "load_model(BUILT_IN_MODEL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
