"""What a base tokenizer lacks, how the answer begins and ends, and folders that are refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import byte_tokenizer, shared, tiny_llama

from tunesmith.errors import ModelError
from tunesmith.model import (
    chat_format,
    complete_tokenizer,
    fingerprint,
    fit_embeddings,
    load_model,
    load_tokenizer,
    resolve_model,
    save_model,
    stop_ids,
)

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def chatml_tokenizer():
    tokenizer = byte_tokenizer(bos=False, chat_template=CHATML)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


def test_a_plain_string_and_a_one_message_chat_give_the_same_ids() -> None:
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    text = chat_format(tokenizer).prompt_text("Is it good?")
    assert tokenizer("Is it good?").input_ids == tokenizer(text, add_special_tokens=False).input_ids


def test_bos_is_not_written_for_a_tokenizer_that_writes_none() -> None:
    tokenizer = byte_tokenizer(bos=False)
    complete_tokenizer(tokenizer)
    assert chat_format(tokenizer).prompt_text("hi") == "hi"


def test_a_pad_token_that_is_the_stop_token_is_replaced_and_reported() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    notes = complete_tokenizer(tokenizer)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert "padded with its stop token </s>" in notes[-1]


def test_a_missing_pad_token_is_added_and_the_embeddings_grow() -> None:
    tokenizer, model = byte_tokenizer(pad=False), tiny_llama()
    complete_tokenizer(tokenizer)
    fit_embeddings(model, tokenizer)
    assert tokenizer.pad_token == "<|pad|>"
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) == 260


def test_the_stop_token_is_the_one_the_chat_template_writes_after_the_answer() -> None:
    chat = chat_format(chatml_tokenizer())
    assert chat.stop_token == "<|im_end|>"
    assert chat.completion_text("yes") == "yes<|im_end|>"
    assert chat.prompt_text("hi") == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_earlier_turns_are_rendered_by_the_chat_template() -> None:
    chat = chat_format(chatml_tokenizer())
    text = chat.prompt_text("more", (("system", "Be brief."), ("user", "hi"), ("assistant", "hello")))
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    assert text.endswith("assistant\n")


def test_every_stop_token_of_the_model_ends_an_answer_and_pad_never_does() -> None:
    tokenizer, model = chatml_tokenizer(), tiny_llama()
    model.generation_config.eos_token_id = [1, 2, 7]  # 2 is the pad token
    assert stop_ids(tokenizer, model) == (tokenizer.convert_tokens_to_ids("<|im_end|>"), 1, 7)


def test_a_chat_template_that_does_not_continue_its_prompt_is_refused() -> None:
    tokenizer = byte_tokenizer(chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}{{ '?' }}")
    with pytest.raises(ModelError, match="does not continue its own prompt"):
        chat_format(tokenizer)


def test_encode_gives_the_tokenizers_own_ids_even_after_it_has_cut_and_padded() -> None:
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    chat, texts = chat_format(tokenizer), ["<s>a long text</s>", "b", ""]
    wanted = tokenizer(texts, add_special_tokens=False).input_ids
    tokenizer(texts, padding=True, truncation=True, max_length=4)
    assert chat.encode(texts) == wanted
    assert chat.decode(wanted) == texts


def test_a_saved_model_loads_again_with_its_stop_and_pad_tokens(tmp_path: Path) -> None:
    tokenizer, model = byte_tokenizer(pad=False), tiny_llama()
    complete_tokenizer(tokenizer)
    fit_embeddings(model, tokenizer)
    save_model(model, tokenizer, tmp_path / "model", max_new_tokens=7)
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
def test_a_folder_without_a_safetensors_model_is_refused(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ModelError, match=message):
        resolve_model(str(tmp_path))


def test_a_misspelt_folder_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "smollm").mkdir()
    with pytest.raises(ModelError, match="did you mean 'smollm'"):
        resolve_model(str(tmp_path / "smolm"))


def test_a_fingerprint_changes_with_the_weights_and_a_hub_id_is_its_own(tiny_model_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model_dir, copy)
    assert fingerprint(str(copy)) == fingerprint(str(tiny_model_dir))
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    different = {
        name for name, value in fingerprint(str(copy)).items() if fingerprint(str(tiny_model_dir))[name] != value
    }
    assert different == {"model.safetensors"}
    assert fingerprint("HuggingFaceTB/SmolLM2-135M") == {"hub id": "HuggingFaceTB/SmolLM2-135M"}


def test_loading_a_model_prints_nothing_whatever_is_installed_beside_it() -> None:
    code = "from tunesmith.model import *; load_tokenizer(BUILT_IN_MODEL), load_model(BUILT_IN_MODEL)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
