"""Models and tokenizers as Hugging Face folders: loading, what a base tokenizer lacks, stop tokens, saving.

A tokenizer without a chat template gets ours: BOS (where the tokenizer writes one), the user's text, one space,
the answer, the end-of-sequence token. So a plain string and a one-message chat give the same token ids.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from tunesmith.architectures import why_refused
from tunesmith.errors import ModelError, did_you_mean
from tunesmith.recipe import BUILT_IN_MODEL
from tunesmith.rundir import file_sha256

ASSETS = Path(__file__).parent / "assets"
MAX_UNKNOWN_CONTEXT = 1 << 20
PAD_TOKEN = "<|pad|>"  # noqa: S105
EOS_TOKEN = "<|eos|>"  # noqa: S105
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}{{ ' ' + message['content'] + eos_token }}"
    "{%- else -%}{{ ('' if loop.first else '\n\n') + message['content'] }}"
    "{%- endif -%}{%- endfor -%}"
)

Message = dict[str, str]


@dataclass(frozen=True)
class ChatFormat:
    """How messages become text for one tokenizer: found by rendering its chat template once.

    `lead` stands between the rendered prompt and the answer, `stop_token` after the answer; `before` and `after`
    surround the text of a single user turn (None where the template does more than surround it).
    """

    tokenizer: Any
    lead: str
    stop_token: str
    stop_id: int
    before: str | None
    after: str | None

    def prompt_text(self, prompt: str, history: tuple[tuple[str, str], ...] = ()) -> str:
        if not history and self.before is not None:
            return f"{self.before}{prompt}{self.after}"
        messages = [{"role": role, "content": content} for role, content in (*history, ("user", prompt))]
        return render_chat(self.tokenizer, messages, add_generation_prompt=True)

    def completion_text(self, completion: str) -> str:
        return f"{self.lead}{completion}{self.stop_token}"

    def encode(self, texts: list[str]) -> list[list[int]]:
        """What `tokenizer(texts, add_special_tokens=False)` gives, on all cores and without offsets and masks."""
        backend = self.tokenizer.backend_tokenizer
        if backend.truncation or backend.padding:  # a tokenizer.json may bring them along
            backend.no_truncation()
            backend.no_padding()
        return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: list[list[int]]) -> list[str]:
        """The text of each, special tokens included, as it is: transformers may take out spaces before a full stop."""
        texts: list[str] = self.tokenizer.backend_tokenizer.decode_batch(ids, skip_special_tokens=False)
        return texts

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Strings that must not stand in a user's text: they would turn into control tokens."""
        added = self.tokenizer.added_tokens_decoder.values()
        return tuple(str(token.content) for token in added if token.special)

    @cached_property
    def newline_ids(self) -> frozenset[int]:
        """Tokens that end a line of text."""
        vocabulary = range(len(self.tokenizer))
        pieces = self.tokenizer.convert_ids_to_tokens(list(vocabulary))
        marks = ("\n", "Ċ", "<0x0A>")  # as itself, in byte-level BPE, in SentencePiece's byte fallback
        return frozenset(
            i for i, piece in zip(vocabulary, pieces, strict=True) if piece and any(m in piece for m in marks)
        )


def resolve_model(name: str) -> str:
    """The built-in model's folder, an existing folder, or a hub id; ModelError for a folder that holds no model."""
    if name == BUILT_IN_MODEL:
        return str(ASSETS / "base")
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelError(
                f"{path}: no config.json in this folder", hint="give a Hugging Face model folder or a hub id"
            )
        if not any(path.glob("*.safetensors")):
            raise ModelError(
                f"{path}: no .safetensors file in this folder",
                hint="tunesmith reads safetensors only; convert with save_pretrained in a version of transformers >= 5",
            )
        return str(path)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        near = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
        raise ModelError(f"{name}: no such folder", hint=did_you_mean(path.name, near))
    return name


def _only_errors() -> None:
    """transformers imports torchao where it is installed, which tells of kernels for other machines."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def load_tokenizer(name: str, trust_remote_code: bool = False) -> Any:
    _only_errors()
    try:
        return AutoTokenizer.from_pretrained(resolve_model(name), trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise _cannot_load("tokenizer", name, error) from error


def load_model(name: str, dtype: str = "auto", trust_remote_code: bool = False, device: str | None = None) -> Any:
    """A causal LM in eval mode. `auto` is float32 weights (training keeps them so; a GPU computes in bf16)."""
    _only_errors()
    wanted = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    try:
        _refuse(name, AutoConfig.from_pretrained(resolve_model(name), trust_remote_code=trust_remote_code))
        model: Any = AutoModelForCausalLM.from_pretrained(
            resolve_model(name), dtype=wanted, use_safetensors=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load("model", name, error) from error
    return model.to(torch.device(device or default_device())).eval()


def _refuse(name: str, config: Any) -> None:
    """ModelError for an architecture that is known not to work."""
    if reason := why_refused(config):
        raise ModelError(
            f"{name}: a {config.model_type} model cannot be trained as a causal language model: {reason}",
            hint="docs/architectures.md lists the architectures that can",
        )


def _cannot_load(what: str, name: str, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(
        f"{name}: the {what} cannot be loaded: {reason}",
        hint="give a Hugging Face folder with safetensors, or a hub id that this machine can reach or has in its cache",
    )


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def max_positions(name_or_config: Any) -> int:
    """How many tokens the model can read; a config without a limit gives a very large number."""
    config = name_or_config
    if isinstance(config, str):
        config = AutoConfig.from_pretrained(resolve_model(config))
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(text, "max_position_embeddings", None) or MAX_UNKNOWN_CONTEXT)


def complete_tokenizer(tokenizer: Any) -> list[str]:
    """Add what a base tokenizer lacks (end token, pad token, chat template), and say what was added.

    The pad token is never a stop token: padding that ends answers, or stop tokens masked as padding, are the usual
    reasons for models that never stop.
    """
    notes = []
    if not tokenizer.is_fast:
        raise ModelError(f"{tokenizer.name_or_path}: a slow tokenizer", hint="save it with a tokenizer.json")
    if tokenizer.eos_token_id is None:
        tokenizer.add_special_tokens({"eos_token": EOS_TOKEN})
        notes.append(f"the tokenizer had no end-of-sequence token: {EOS_TOKEN} added")
    if not tokenizer.chat_template:
        begins = tokenizer("x").input_ids[:1] == [tokenizer.bos_token_id] and tokenizer.bos_token_id is not None
        tokenizer.chat_template = ("{{- bos_token -}}" if begins else "") + CHAT_TEMPLATE
        notes.append("the tokenizer had no chat template: a plain one added (text, space, answer, end token)")
    stops = {tokenizer.eos_token_id, chat_format(tokenizer).stop_id}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in stops:
        had = tokenizer.pad_token
        unknown = tokenizer.unk_token
        usable = unknown is not None and tokenizer.unk_token_id not in {*stops, tokenizer.bos_token_id}
        tokenizer.pad_token = unknown if usable else PAD_TOKEN
        if not usable:
            tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
        was = "had no pad token" if had is None else f"padded with its stop token {had}"
        notes.append(f"the tokenizer {was}: {tokenizer.pad_token} is the pad token now")
    return notes


def fit_embeddings(model: Any, tokenizer: Any) -> None:
    """Make room for added tokens; transformers draws the new rows around the mean of the others."""
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer))


def render_chat(tokenizer: Any, messages: list[Message], *, add_generation_prompt: bool) -> str:
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, enable_thinking=False
        )
    except Exception as error:  # a template is the model author's program and may raise anything
        roles = ", ".join(message["role"] for message in messages)
        raise ModelError(f"the chat template cannot render the roles {roles}: {error}") from error
    return str(text)


def chat_format(tokenizer: Any) -> ChatFormat:
    """Find the format by rendering one dialogue; ModelError where prompt + answer is not what training would see."""
    question, answer = "Qx7 q", "Ay9 a"
    user, assistant = {"role": "user", "content": question}, {"role": "assistant", "content": answer}
    prompt = render_chat(tokenizer, [user], add_generation_prompt=True)
    whole = render_chat(tokenizer, [user, assistant], add_generation_prompt=False)
    if not whole.startswith(prompt) or answer not in whole[len(prompt) :]:
        raise ModelError(
            f"the chat template does not continue its own prompt: {prompt!r} is not the beginning of {whole!r}",
            hint="give the tokenizer a chat template whose generation prompt ends where the answer begins",
        )
    lead, tail = whole[len(prompt) :].split(answer, 1)
    specials = {str(token.content): i for i, token in tokenizer.added_tokens_decoder.items()}
    found = [(tail.index(token), token) for token in specials if token in tail]
    stop = min(found)[1] if found and tail[: min(found)[0]].strip() == "" else tokenizer.eos_token
    before, _, after = prompt.partition(question)
    surrounds = render_chat(tokenizer, [{"role": "user", "content": "a  b\nc"}], add_generation_prompt=True)
    plain = surrounds == f"{before}a  b\nc{after}"
    base = ChatFormat(tokenizer, lead, stop, tokenizer.convert_tokens_to_ids(stop), None, None)
    return replace(base, before=before, after=after) if plain else base


def stop_ids(tokenizer: Any, model: Any | None = None) -> tuple[int, ...]:
    """Every token that ends an answer: the trained one first, then the tokenizer's and the generation config's."""
    ids = [chat_format(tokenizer).stop_id, tokenizer.eos_token_id]
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids += configured if isinstance(configured, list) else [configured]
    return tuple(dict.fromkeys(i for i in ids if i is not None and i != tokenizer.pad_token_id))


def save_model(model: Any, tokenizer: Any, folder: Path, max_new_tokens: int | None = None) -> None:
    """Write a folder that loads with from_pretrained and stops by itself; it appears whole or not at all."""
    stops = list(stop_ids(tokenizer, model))
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stops if len(stops) > 1 else stops[0],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=max_new_tokens,
    )
    model.config.eos_token_id = model.generation_config.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.bos_token_id = tokenizer.bos_token_id
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def fingerprint(name: str) -> dict[str, str]:
    """Hashes of the files that decide token ids and weights, by name; of a hub id, the id (its cache is its own)."""
    folder = Path(resolve_model(name))
    if not folder.is_dir():
        return {"hub id": name}
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".jinja", ".model"))
    return {file.name: file_sha256(file) for file in files}
