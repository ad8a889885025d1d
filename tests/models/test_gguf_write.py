"""A .gguf file holds the model: read back by transformers, everything is as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from support import byte_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tunesmith.errors import ModelError
from tunesmith.models import gguf_tokenizer
from tunesmith.models.gguf_architectures import ARCHITECTURES, interleaved
from tunesmith.models.gguf_check import difference
from tunesmith.models.gguf_tokenizer import SPLITTING, TokenizerFields, tokenizer_fields
from tunesmith.models.gguf_write import check_writable, round_weights, write_gguf

gguf = pytest.importorskip("gguf")
ROOT = Path(__file__).parents[2]
TEXTS = ["<s>He's got 12345 of them,  naïve\n\n", " 3.14 we'LL see <|think|>日本語</s>"]


def with_offsets(rule: Any) -> Any:
    """As a tokenizer.json has it."""
    if isinstance(rule, list):
        return [with_offsets(part) for part in rule]
    if rule["type"] == "Sequence":
        return rule | {"pretokenizers": with_offsets(rule["pretokenizers"])}
    return rule | ({"trim_offsets": True} if rule["type"] == "ByteLevel" else {})


def tokenizer(pre: str) -> Any:
    """A trained BPE tokenizer with one of llama.cpp's splitting rules, and an added word."""
    empty = json.loads(Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe")).to_str())
    inner = Tokenizer.from_str(json.dumps(empty | {"pre_tokenizer": with_offsets(SPLITTING[pre])}))
    inner.decoder = decoders.ByteLevel()
    names = ["<s>", "</s>", "<pad>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=names, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(["he 12345 123 12 we'll see them naïve got"] * 3, trainer)
    found = hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    found.add_tokens(["<|think|>"])
    found.chat_template = "{{ bos_token }}{{ messages[0].content }}"
    return found


HEAD_DIM = {"qwen3": 128, "gemma2": 256, "gemma3_text": 256}


def tiny_config(kind: str, tied: bool) -> Any:
    if kind == "gpt2":
        return hf.GPT2Config(
            vocab_size=320, n_embd=32, n_layer=2, n_head=4, tie_word_embeddings=tied,
            bos_token_id=0, eos_token_id=1,
        )  # fmt: skip
    values: dict[str, Any] = {
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
        "num_hidden_layers": 2,
    }
    if kind == "gemma3_text":  # of its layers every sixth sees everything
        theirs = {"full_attention": 5000.0, "sliding_attention": 10_000.0}
        ropes = {name: {"rope_type": "default", "rope_theta": t} for name, t in theirs.items()}
        values = {"rope_parameters": ropes, "num_hidden_layers": 6}
    if kind == "mistral":
        values["sliding_window"] = None
    if kind.startswith("gemma"):
        values["sliding_window"] = 8
    return hf.AutoConfig.for_model(
        kind, vocab_size=320, hidden_size=32, intermediate_size=48, num_attention_heads=4,
        num_key_value_heads=2, head_dim=HEAD_DIM.get(kind, 8), max_position_embeddings=128,
        tie_word_embeddings=tied, rms_norm_eps=1e-5, bos_token_id=0, eos_token_id=1, pad_token_id=2,
        **values,
    )  # fmt: skip


def model(kind: str, tied: bool = False) -> Any:
    config = tiny_config(kind, tied)
    torch.manual_seed(3)
    found = hf.AutoModelForCausalLM.from_config(config).eval()
    for weight in found.parameters():  # biases and norms as well are not what they began as
        weight.data.add_(torch.randn_like(weight) * 0.1)
    return found


def written(found: Any, tokens: Any, file: Path, dtype: str) -> TokenizerFields:
    fields = tokenizer_fields(tokens, [1], found.config.vocab_size)
    round_weights(found, dtype)
    write_gguf(found, fields, file, dtype, "tiny")
    return fields


def ids_of(tokens: Any) -> list[list[int]]:
    return [tokens(text, add_special_tokens=False)["input_ids"] for text in TEXTS]


MATRICES = ("q_proj.weight", "qkv_proj.weight", "c_attn.weight")


READ_BACK = (
    ("llama", "gpt-2", "bfloat16", True),
    ("llama", "llama-bpe", "float32", False),
    ("llama", "smollm", "float16", False),
    ("qwen2", "qwen2", "float16", True),
    ("qwen3", "qwen2", "bfloat16", False),
    ("mistral", "llama-bpe", "bfloat16", False),
    ("phi3", "llama-bpe", "bfloat16", False),
    ("gpt2", "gpt-2", "float16", True),
    ("gpt2", "gpt-2", "bfloat16", False),
    ("gemma2", "gpt-2", "bfloat16", True),
    ("gemma3_text", "gpt-2", "float16", True),
)


@pytest.mark.parametrize("kind, pre, dtype, tied", READ_BACK)
def test_what_is_read_back_is_the_model(
    tmp_path: Path, kind: str, pre: str, dtype: str, tied: bool
) -> None:
    found, tokens, file = model(kind, tied), tokenizer(pre), tmp_path / "m.gguf"
    name = next(name for name, w in found.named_parameters() if name.endswith(MATRICES))
    before = found.get_parameter(name).detach().clone()
    fields = written(found, tokens, file, dtype)
    assert fields.pre == pre
    assert difference(file, found, fields, TEXTS, ids_of(tokens)) == ""
    rounded = before.to(getattr(torch, dtype)).float()
    assert torch.equal(found.get_parameter(name), rounded)


def test_a_file_is_read_back_by_a_path_that_is_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found, tokens, file = model("llama"), tokenizer("gpt-2"), Path("m.gguf")
    fields = written(found, tokens, file, "float32")
    assert difference(file, found, fields, TEXTS, ids_of(tokens)) == ""


@pytest.mark.parametrize(
    "name, said",
    [
        ("model.layers.1.self_attn.k_proj.weight", "the tensor model.layers.1.self_attn.k_proj"),
        ("model.norm.weight", "the tensor model.norm.weight has other numbers"),
    ],
)
def test_another_number_is_noticed(tmp_path: Path, name: str, said: str) -> None:
    found, tokens, file = model("llama"), tokenizer("gpt-2"), tmp_path / "m.gguf"
    fields = written(found, tokens, file, "bfloat16")
    found.get_parameter(name).data.view(-1)[5] += 0.5
    assert difference(file, found, fields, TEXTS, ids_of(tokens)).startswith(said)


def test_other_sizes_tokens_and_logits_are_noticed(tmp_path: Path) -> None:
    found, tokens, file = model("qwen3"), tokenizer("qwen2"), tmp_path / "m.gguf"
    fields = written(found, tokens, file, "bfloat16")
    ids = ids_of(tokens)
    wrong = [ids[0], [*ids[1], 7]]
    assert "' 3.14 we'LL" in difference(file, found, fields, TEXTS, wrong).replace('"', "'")
    found.model.layers[0].mlp.act_fn = torch.nn.ReLU()
    assert difference(file, found, fields, TEXTS, ids) == "the logits of a prompt are others"
    found.config.rope_parameters["rope_theta"] = 1e4
    assert difference(file, found, fields, TEXTS, ids).startswith("rope_theta is 5000.0 in the")


def test_every_architecture_is_one_that_is_read_back() -> None:
    kinds = {kind for kind, *_ in READ_BACK}
    assert kinds == set(ARCHITECTURES)
    page = (ROOT / "docs" / "gguf.md").read_text(encoding="utf-8")
    assert [kind for kind in kinds if f"`{kind}`" not in page] == []


def test_gemmas_norms_are_one_larger_in_the_file_and_rounded_to_survive_it(tmp_path: Path) -> None:
    """0.1 + 1 in float32 less 1 is 0.10000002384185791."""
    found, file = model("gemma2", tied=True), tmp_path / "m.gguf"
    found.model.norm.weight.data.fill_(0.1)
    written(found, tokenizer("gpt-2"), file, "bfloat16")
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(file).tensors}
    assert float(tensors["output_norm.weight"][0]) == float(torch.tensor(1.1))
    assert float(found.model.norm.weight.detach()[0]) == 0.10000002384185791


def test_gpt2s_matrices_are_transposed_and_its_positions_stay_in_float32(tmp_path: Path) -> None:
    found, file = model("gpt2", tied=True), tmp_path / "m.gguf"
    positions = found.transformer.wpe.weight.detach().clone()
    written(found, tokenizer("gpt-2"), file, "float16")
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(file).tensors}
    wanted = found.transformer.h[0].mlp.c_fc.weight.detach().T.half().numpy()
    assert (tensors["blk.0.ffn_up.weight"] == wanted).all()
    assert (tensors["position_embd.weight"] == positions.numpy()).all()
    assert "output.weight" not in tensors


def test_rows_of_a_head_are_interleaved() -> None:
    """Two heads of four: 0 1 | 2 3 becomes 0 2 1 3."""
    rows = torch.arange(8.0).reshape(8, 1)
    assert interleaved(rows, 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_a_number_that_float16_cannot_hold_is_refused() -> None:
    found = model("llama")
    found.model.embed_tokens.weight.data[3, 3] = 70_000.0
    with pytest.raises(ModelError, match=r"embed_tokens.weight: too large for float16"):
        round_weights(found, "float16")


OTHERS = (
    hf.GraniteConfig, hf.Olmo2Config, hf.SmolLM3Config, hf.Starcoder2Config, hf.GemmaConfig,
    hf.CohereConfig, hf.FalconConfig,
)  # fmt: skip


@pytest.mark.parametrize(
    "config, said",
    [
        *(
            (other(), f"{other.model_type} models are not written as .gguf; llama, ")
            for other in OTHERS
        ),
        (hf.GPT2Config(n_positions=512), "gpt2 with n_positions = 512 is .* only 1024"),
        (hf.GPT2Config(n_inner=100), "n_inner = 100"),
        (hf.GPT2Config(activation_function="relu"), "activation_function = 'relu'"),
        (hf.MistralConfig(sliding_window=4096), "mistral with sliding_window = 4096"),
        (hf.Phi3Config(sliding_window=2047), "phi3 with sliding_window = 2047"),
        (hf.Gemma2Config(head_dim=128), "head_dim = 128"),
        (hf.Gemma2Config(query_pre_attn_scalar=144), "query_pre_attn_scalar = 144"),
        (hf.Gemma2Config(tie_word_embeddings=False), "tie_word_embeddings = False"),
        (hf.Gemma3TextConfig(final_logit_softcapping=30.0), "final_logit_softcapping = 30.0"),
        (hf.LlamaConfig(attention_bias=True), "attention_bias = True"),
        (hf.LlamaConfig(hidden_act="gelu"), "hidden_act = 'gelu'"),
        (
            hf.LlamaConfig(rope_parameters={"rope_type": "linear", "factor": 2.0}),
            "rope_type = 'linear'",
        ),
        (hf.Qwen3Config(head_dim=64), "head_dim = 64"),
        (hf.Qwen2Config(use_sliding_window=True), "use_sliding_window = True"),
    ],
)
def test_what_a_file_cannot_say_is_refused(config: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        check_writable(config)


def changed(key: str, value: object) -> Any:
    found = tokenizer("gpt-2")
    content = json.loads(found.backend_tokenizer.to_str())
    part, _, inner = key.partition(".")
    if inner:
        content[part][inner] = value
    else:
        content[part] = value
    found._tokenizer = Tokenizer.from_str(json.dumps(content))
    return found


@pytest.mark.parametrize(
    "tokens, said",
    [
        (lambda: byte_tokenizer(chat_template="x"), "has no merges"),
        (lambda: changed("pre_tokenizer", {"type": "Whitespace"}), '"type": "Whitespace"'),
        (lambda: changed("normalizer", {"type": "Lowercase"}), r"normalises text \(Lowercase\)"),
        (lambda: changed("model.ignore_merges", True), "ignore_merges is True; llama.cpp's gpt-2"),
        (lambda: changed("model.byte_fallback", True), "byte_fallback is True"),
    ],
)
def test_a_tokenizer_that_llama_cpp_does_not_have_is_refused(tokens: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        tokenizer_fields(tokens(), [1], 320)


def test_the_fields_of_a_tokenizer() -> None:
    tokens = tokenizer("gpt-2")
    tokens.add_special_tokens({"additional_special_tokens": ["<x>"]})
    fields, ids = tokenizer_fields(tokens, [1, 7], len(tokens) + 2), tokens.get_vocab()
    assert fields.tokens[:3] == ("<s>", "</s>", "<pad>")
    assert fields.tokens[-2:] == (f"[PAD{len(tokens)}]", f"[PAD{len(tokens) + 1}]")
    kinds = [fields.types[i] for i in (1, ids["a"], ids["<|think|>"], ids["<x>"], -1)]
    named = gguf_tokenizer
    assert kinds == [
        named.CONTROL, named.NORMAL, named.USER_DEFINED, named.CONTROL, named.UNUSED,
    ]  # fmt: skip
    with pytest.raises(ModelError, match="3 tokens end an answer"):
        tokenizer_fields(tokens, [1, 7, 8], len(tokens))
    with pytest.raises(ModelError, match=rf"id {len(tokens) - 1}, the model 5 embeddings"):
        tokenizer_fields(tokens, [1], 5)
