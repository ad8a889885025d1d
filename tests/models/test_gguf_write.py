"""A .gguf file holds the model: read back by transformers, everything is as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from gguf_models import READ_BACK, TEXTS, VARIANTS, ids_of, model, ropes, tokenizer, written
from support import byte_tokenizer
from tokenizers import Tokenizer

from tunesmith.errors import ModelError
from tunesmith.models import gguf_tokenizer
from tunesmith.models.gguf_architectures import ARCHITECTURES, REFUSED
from tunesmith.models.gguf_check import difference
from tunesmith.models.gguf_layouts import (
    exponential,
    interleaved,
    numpy_log,
    of_bloom,
    parts,
    tiled,
)
from tunesmith.models.gguf_tokenizer import SPLITTING, tokenizer_fields
from tunesmith.models.gguf_write import check_writable, round_weights

gguf = pytest.importorskip("gguf")
ROOT = Path(__file__).parents[2]
MATRICES = (
    "q_proj.weight", "qkv_proj.weight", "c_attn.weight", "query_key_value.weight", "in_proj.weight",
)  # fmt: skip


@pytest.mark.parametrize("kind, pre, dtype, tied", READ_BACK)
def test_what_is_read_back_is_the_model(
    tmp_path: Path, kind: str, pre: str, dtype: str, tied: bool
) -> None:
    found, tokens, file = model(kind, tied), tokenizer(pre), tmp_path / "m.gguf"
    name = next(name for name, w in found.named_parameters() if name.endswith(MATRICES))
    check_writable(found.config)
    before = found.get_parameter(name).detach().clone()
    fields = written(found, tokens, file, dtype)
    assert fields.pre == pre
    assert difference(file, found, fields, TEXTS, ids_of(tokens)) == ""
    rounded = before.to(getattr(torch, dtype)).float()
    assert torch.equal(found.get_parameter(name), rounded)


@pytest.mark.parametrize("kind, tied, changes", VARIANTS)
def test_what_a_file_says_is_read_back(
    tmp_path: Path, kind: str, tied: bool, changes: dict[str, Any]
) -> None:
    found, tokens, file = model(kind, tied, **changes), tokenizer("qwen2"), tmp_path / "m.gguf"
    check_writable(found.config)
    fields = written(found, tokens, file, "float32")
    assert difference(file, found, fields, TEXTS, ids_of(tokens)) == ""


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


PAGE = (ROOT / "docs" / "gguf.md").read_text(encoding="utf-8")


def test_every_architecture_is_one_that_is_read_back_and_stands_in_the_docs() -> None:
    rows = [line.split("|")[2] for line in PAGE.splitlines() if line.startswith("| ")][1:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(ARCHITECTURES)
    assert {kind for kind, *_ in READ_BACK} == set(ARCHITECTURES)


def test_what_is_refused_and_how_texts_may_be_split_stands_in_the_docs() -> None:
    assert [name for name in (*REFUSED, *SPLITTING) if f"`{name}`" not in PAGE] == []
    assert {pre for _, pre, *_ in READ_BACK} == set(SPLITTING)


def test_splitting_rules_are_those_that_transformers_has_of_these_names() -> None:
    names = pytest.importorskip("transformers.integrations.gguf.gguf_tokenizer_mapping")
    theirs = names.GGUF_PRE_TOKENIZER_SPLITS
    both = {name: SPLITTING[name]["pretokenizers"][0] for name in SPLITTING if name in theirs}
    assert sorted(both) == ["dbrx", "llama-bpe", "qwen2", "qwen35"]
    assert {name: rule["pattern"]["Regex"] for name, rule in both.items()} == {
        name: theirs[name] for name in both
    }


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


def test_routers_convolutions_and_decays_stay_in_float32(tmp_path: Path) -> None:
    found, file = model("qwen3_5_moe_text"), tmp_path / "m.gguf"
    router = found.model.layers[0].mlp.gate.weight.detach().clone()
    written(found, tokenizer("qwen35"), file, "bfloat16")
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    names = ("ffn_gate_inp.weight", "ssm_conv1d.weight", "ssm_a", "ffn_down_exps.weight")
    kinds = [tensors[f"blk.0.{name}"].tensor_type.name for name in names]
    assert kinds == ["F32", "F32", "F32", "BF16"]
    assert (tensors["blk.0.ffn_gate_inp.weight"].data == router.numpy()).all()


def test_value_heads_that_stand_by_group_are_tiled() -> None:
    """Two groups of two heads with two rows: 0 1 2 3 | 4 5 6 7 becomes 0 1 4 5 2 3 6 7."""
    rows = torch.arange(8.0).reshape(8, 1)
    assert tiled(rows, 2, 2).flatten().tolist() == [0, 1, 4, 5, 2, 3, 6, 7]


def test_blooms_heads_are_apart_in_the_file() -> None:
    """Two heads of one number each: q k v | q k v becomes q q k k v v."""
    config = hf.BloomConfig(hidden_size=2, n_head=2)
    rows = torch.arange(6.0)
    name = "h.0.self_attention.query_key_value.bias"
    assert of_bloom(config, name, rows).tolist() == [0, 3, 1, 4, 2, 5]


def test_gates_of_experts_are_apart_from_their_ups_in_the_file() -> None:
    stacked = torch.arange(8.0).reshape(2, 4, 1)  # two experts, of width two
    found = dict(parts("model.layers.0.mlp.experts.gate_up_proj", stacked))
    assert {name: half.flatten().tolist() for name, half in found.items()} == {
        "model.layers.0.mlp.experts.gate_proj.weight": [0, 1, 4, 5],
        "model.layers.0.mlp.experts.up_proj.weight": [2, 3, 6, 7],
    }


@pytest.mark.parametrize("log", [torch.log, numpy_log])
def test_a_decays_exponential_is_one_of_which_the_logarithm_is_the_decay(log: Any) -> None:
    """Near log(2) float32 rounds many to their neighbours."""
    decays = log(torch.linspace(-3, 4, 200_001).exp())
    found = exponential(decays, log)
    assert torch.equal(log(found), decays)
    assert not torch.equal(found, decays.exp())
    assert float((found / decays.exp() - 1).abs().max()) < 1e-6


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
    hf.GraniteConfig, hf.Olmo2Config, hf.SmolLM3Config, hf.GemmaConfig,
    hf.CohereConfig,
)  # fmt: skip


@pytest.mark.parametrize(
    "config, said",
    [
        *(
            (other(), f"{other.model_type} models are not written as .gguf; llama, ")
            for other in OTHERS
        ),
        (hf.Starcoder2Config(), "starcoder2 .*transformers does not read back the rotary base"),
        (hf.GptOssConfig(), "gpt_oss .*does not read back the experts' gates and biases"),
        (hf.Gemma4TextConfig(), "gemma4_text .*does not read back which layers see everything"),
        (hf.Qwen2MoeConfig(norm_topk_prob=True), "norm_topk_prob = True"),
        (hf.Qwen2MoeConfig(moe_intermediate_size=512), "moe_intermediate_size = 512"),
        (hf.Qwen3MoeConfig(norm_topk_prob=True, mlp_only_layers=[1]), r"mlp_only_layers = \[1\]"),
        (hf.Lfm2Config(conv_bias=True), "conv_bias = True"),
        (
            hf.Qwen3_5TextConfig(linear_value_head_dim=64),
            "linear_value_head_dim = 64 .* only 128",
        ),
        (hf.StableLmConfig(rope_parameters=ropes("llama")), "rope_theta = 5000.0"),
        (hf.NemotronConfig(norm_eps=1e-6), "norm_eps = 1e-06"),
        (hf.FalconConfig(new_decoder_architecture=True), "new_decoder_architecture = True"),
        (hf.FalconConfig(alibi=True), "alibi = True"),
        (hf.BloomConfig(tie_word_embeddings=False), "tie_word_embeddings = False"),
        (hf.MambaConfig(expand=4), "expand = 4"),
        (hf.StableLmConfig(tie_word_embeddings=True), "tie_word_embeddings = True"),
        (hf.NemotronConfig(head_dim=64), "head_dim = 64 .* only 128"),
        (hf.FalconConfig(ffn_hidden_size=100), "ffn_hidden_size = 100 .* only 18176"),
        (
            hf.Qwen3_5TextConfig(
                num_hidden_layers=2, layer_types=["full_attention", "linear_attention"]
            ),
            r"layer_types = .*, only \['full_attention', 'full_attention'\]",
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
