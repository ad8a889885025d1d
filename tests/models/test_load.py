"""Weights that are not the model's, models that do not write from left to right, GGUF files, and
saved folders.
"""

from __future__ import annotations

import fnmatch
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers
from random_models import tiny
from safetensors.torch import load_file, save_file
from support import byte_tokenizer, save, tiny_llama

from tunesmith.chat.format import complete_tokenizer
from tunesmith.errors import ModelError
from tunesmith.models import gguf as gguf_module
from tunesmith.models import load as loading
from tunesmith.models.load import (
    check_numbers,
    check_weights,
    fingerprint,
    fit_embeddings,
    load_config,
    load_model,
    load_tokenizer,
    max_positions,
)
from tunesmith.models.save import with_old_names

UP = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def folder(tiny_model_dir: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_model_dir, tmp_path / "model")
    return tmp_path / "model"


def change_weights(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors) or tensors, folder / "model.safetensors", {"format": "pt"})


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def refused(folder: Path, message: str) -> None:
    """By what is said of the weights before any is read, and again when they are loaded."""
    for look in (check_weights, load_model):
        with pytest.raises(ModelError, match=message):
            look(str(folder))


def test_a_generation_config_that_cannot_be_read_is_no_reason_to_take_another(
    folder: Path,
) -> None:
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "generation_config.json").mkdir()
    refused(folder, "generation_config.json")


def test_a_generation_config_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": ')
    refused(folder, "generation_config.json.* not a valid JSON")


# ---- weights


def test_missing_tensors_are_named_and_counted(folder: Path) -> None:
    change_weights(folder, lambda tensors: {k: v for k, v in tensors.items() if "up_proj" not in k})
    refused(folder, rf"2 tensors missing from the weights: {UP}, model\.layers\.1")


def test_weights_under_other_names_are_not_replaced_by_random_ones(folder: Path) -> None:
    change_weights(folder, lambda tensors: {f"x.{k}.y": v for k, v in tensors.items()})
    refused(
        folder, r"\d+ tensors missing from the weights: .*model\.embed_tokens\.weight, .*, \.\.\."
    )


def test_tensors_that_the_model_does_not_have_are_refused(folder: Path) -> None:
    change_weights(
        folder, lambda tensors: tensors | {"model.layers.0.mlp.gate.bias": torch.zeros(3)}
    )
    refused(folder, r"1 tensor not of this model: model\.layers\.0\.mlp\.gate\.bias")


def test_a_tensor_of_another_shape_is_refused_with_both_shapes(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors | {UP: torch.zeros(7, 32)})
    refused(folder, rf"1 tensor of another shape: {UP} is 7 x 32, config\.json says 64 x 32")


def test_a_file_cut_short_is_named(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    refused(folder, r"model\.safetensors: damaged or cut short")


def test_a_pointer_of_git_lfs_is_told_from_a_damaged_file(folder: Path) -> None:
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    )
    refused(folder, r"a pointer of Git LFS, not the weights\nhint: `git lfs pull`")


def test_a_missing_shard_is_named(folder: Path) -> None:
    load_model(str(folder)).save_pretrained(folder, max_shard_size="50KB")
    (folder / "model.safetensors").unlink()
    check_weights(str(folder))
    sorted(folder.glob("model-*.safetensors"))[0].unlink()
    refused(folder, r"1 of \d files of weights are missing: model-00001-of")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_nan_or_an_infinity_is_found_and_its_tensor_named(
    folder: Path, value: float, dtype: torch.dtype
) -> None:
    def damage(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[UP][5, 5] = value
        return {name: tensor.to(dtype) for name, tensor in tensors.items()}

    change_weights(folder, damage)
    with pytest.raises(ModelError, match=rf"NaN or infinity in 1 tensor: {UP}"):
        check_numbers(str(folder), load_config(str(folder)), 1 << 30)
    with pytest.raises(ModelError, match=rf"NaN or infinity in 1 tensor: {UP}"):
        load_model(str(folder))


def test_large_weights_are_searched_when_training_loads_them(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors | {UP: torch.full((64, 32), float("nan"))})
    check_numbers(str(folder), load_config(str(folder)), 100)


def test_a_tied_head_and_old_buffers_are_no_faults(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in tensors
    change_weights(
        folder, lambda t: t | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    )
    check_weights(str(folder))
    load_model(str(folder))


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "gpt2", "bloom", "mamba"])
def test_what_each_architecture_saves_is_whole(kind: str, tmp_path: Path) -> None:
    tiny(kind).save_pretrained(tmp_path)
    check_weights(str(tmp_path))
    load_model(str(tmp_path))


def test_experts_are_joined_as_transformers_joins_them(tmp_path: Path) -> None:
    config = transformers.MixtralConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    transformers.MixtralForCausalLM(config).save_pretrained(tmp_path)
    assert any("experts.3" in name for name in load_file(tmp_path / "model.safetensors"))
    check_weights(str(tmp_path))


# ---- models that are something else


def test_an_adapter_without_its_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(
        ModelError, match=r"an adapter .*not a whole model\nhint: merge it into its base"
    ):
        load_config(str(tmp_path))


@pytest.mark.parametrize(
    "kind", ["bert", "camembert", "ernie", "data2vec-text", "roberta", "electra"]
)
def test_an_encoder_is_refused_though_it_is_registered_as_a_decoder(
    kind: str, folder: Path
) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(
        ModelError, match=f"a {kind} model cannot be trained as a causal language model: an encoder"
    ):
        load_config(str(folder))
    change_config(folder, is_decoder=True)
    assert load_config(str(folder)).is_decoder


@pytest.mark.parametrize("kind", ["t5", "bart", "pegasus"])
def test_an_encoder_with_a_decoder_is_refused(kind: str, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(
        ModelError,
        match=f"a {kind} model cannot be trained as a causal language model: an encoder-decoder",
    ):
        load_config(str(folder))


def test_a_model_that_sees_is_refused_or_its_language_model_taken(tmp_path: Path) -> None:
    text = {
        "vocab_size": 61,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "head_dim": 8,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "intermediate_size_mlp": 48,
    }
    sight = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    config = transformers.Llama4Config(
        text_config={**text, "num_local_experts": 2}, vision_config=sight
    )
    transformers.Llama4ForConditionalGeneration(config).save_pretrained(tmp_path)
    assert "ForCausalLM" in type(check_weights(str(tmp_path))).__name__
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    with pytest.raises(ModelError, match="llava is no model that only writes text"):
        load_config(str(tmp_path))


def test_every_encoder_among_transformers_decoders_is_known() -> None:
    """What has an `is_decoder` that is false by default is an encoder, but for GPT-NeoX, and
    TrOCR's decoder.
    """
    names = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    for kind in set(names) - {"gpt_neox", "gpt_neox_japanese", "trocr"}:
        config_class = transformers.CONFIG_MAPPING[kind]
        if getattr(config_class, "is_decoder", None) is False:
            with pytest.raises(ModelError, match="cannot be trained as a causal language model"):
                loading._check_causal(kind, config_class())


@pytest.mark.parametrize(
    "text", ['{"model_type": "nonesuch"}', "{}", "{", '{"model_type": "llama", "hidden_size": "x"}']
)
def test_an_unknown_or_broken_config_is_one_error(text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"the (config|model) cannot be loaded: .+\nhint: "):
        check_weights(str(folder))


def test_quantised_weights_are_refused(folder: Path) -> None:
    change_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(ModelError, match=r"quantised \(gptq\)"):
        load_config(str(folder))


def test_a_config_cannot_ask_for_kernels_of_the_hub(folder: Path) -> None:
    change_config(folder, attn_implementation="someone/kernel")
    with pytest.raises(
        ModelError, match=r"asks for code of the hub: someone/kernel\nhint: trust_remote_code: true"
    ):
        load_config(str(folder))


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("way", ["beside", "index", "named"])
def test_nothing_is_unpickled(way: str, folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "exploded"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(marker)))
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    if way == "index":
        index = {"metadata": {}, "weight_map": {UP: "pytorch_model.bin"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    if way == "named":
        change_config(folder, transformers_weights="pytorch_model.bin")
    refused(folder, r"neither model\.safetensors nor|damaged|names pytorch_model\.bin")
    assert not marker.exists()


def test_a_folder_without_a_tokenizer_says_so(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match=r"there is no tokenizer\.json in"):
        load_tokenizer(str(folder))


# ---- hub ids


@pytest.mark.parametrize("name", ["nobody/nothing", "not a name/at all"])
def test_a_hub_id_that_cannot_be_had_is_one_error(name: str) -> None:
    with pytest.raises(
        ModelError, match=f"{name}: no folder of this name here, and the hub does not give it"
    ):
        load_config(name)


def test_of_a_hub_id_only_what_is_needed_is_fetched(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, **k: asked.append(k) or str(tiny_model_dir),
    )
    loading._from_hub.cache_clear()
    try:
        assert max_positions("someone/tiny") == 512
        load_model("someone/tiny")
        load_config("someone/tiny", trust_remote_code=True)
    finally:
        loading._from_hub.cache_clear()

    def fetched(number: int, file: str) -> bool:
        allow, ignore = (asked[number][f"{kind}_patterns"] for kind in ("allow", "ignore"))
        return any(fnmatch.fnmatch(file, p) for p in allow) and not any(
            fnmatch.fnmatch(file, p) for p in ignore
        )

    files = [
        "config.json",
        "model.safetensors",
        "modeling_x.py",
        "pytorch_model.bin",
        "onnx/model.safetensors",
    ]
    assert [[file for file in files if fetched(number, file)] for number in range(3)] == [
        ["config.json"],
        ["config.json", "model.safetensors"],
        ["config.json", "modeling_x.py"],
    ]


# ---- .gguf


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A tiny Llama as llama.cpp would write it, and the model it was made from."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    model = tiny_llama(vocab_size=260)
    write_gguf(path, model)
    return path, model


def write_gguf(path: Path, model: Any) -> None:
    gguf = pytest.importorskip("gguf")
    config, tokenizer = model.config, byte_tokenizer(bos=False)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(50_000.0)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    pieces = [*tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))), "ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(pieces)
    writer.add_token_types([3] * 3 + [1] * (len(pieces) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    names = {
        "embed_tokens": "token_embd",
        "norm": "output_norm",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "q_proj": "attn_q",
        "k_proj": "attn_k",
        "v_proj": "attn_v",
        "o_proj": "attn_output",
        "gate_proj": "ffn_gate",
        "up_proj": "ffn_up",
        "down_proj": "ffn_down",
    }
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.model.state_dict().items():
        parts = name.split(".")
        values, layer = tensor.numpy(), f"blk.{parts[1]}." if parts[0] == "layers" else ""
        if (
            parts[-2] in heads
        ):  # llama.cpp turns neighbouring pairs, transformers the two halves of a head
            values = (
                values.reshape(heads[parts[-2]], 2, -1, values.shape[1])
                .swapaxes(1, 2)
                .reshape(values.shape)
            )
        writer.add_tensor(f"{layer}{names[parts[-2]]}.weight", values.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_becomes_an_ordinary_folder_in_float32(
    gguf_file: tuple[Path, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, original = gguf_file
    config = load_config(str(path))
    assert (config.max_position_embeddings, config.rope_parameters["rope_theta"]) == (512, 50_000.0)
    assert max_positions(str(path)) == 512
    check_weights(str(path))
    tokenizer, model = load_tokenizer(str(path)), load_model(str(path))
    assert tokenizer("cab").input_ids == [*byte_tokenizer(bos=False)("c").input_ids, 259]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for (name, found), wanted in zip(model.named_parameters(), original.parameters(), strict=True):
        assert torch.equal(found, wanted), name
    complete_tokenizer(tokenizer)
    fit_embeddings(model, tokenizer)
    save(model, tokenizer, tmp_path / "saved")
    assert "quantization_config" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    said = capfd.readouterr()
    assert said.out == ""
    assert "Converting" not in said.err
    assert fingerprint(str(path)).keys() == {"tiny.gguf"}


def test_a_gguf_file_is_converted_once(
    gguf_file: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = gguf_file
    load_config(str(path))
    gguf_module.converted.cache_clear()
    monkeypatch.setattr(gguf_module, "read_gguf", lambda file: pytest.fail("read again"))
    load_model(str(path))


def test_files_beside_a_gguf_file_are_no_part_of_it(
    gguf_file: tuple[Path, Any], tmp_path: Path
) -> None:
    original = gguf_file[0].read_bytes()
    path = tmp_path / "tiny.gguf"
    path.write_bytes(original + b"\0" * 32)  # another hash, so it is read again
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "tokenizer_config.json").write_text("{")
    assert load_config(str(path)).model_type == "llama"


def test_a_gguf_file_cut_short_or_foreign_is_one_error(
    gguf_file: tuple[Path, Any], tmp_path: Path
) -> None:
    for data in (gguf_file[0].read_bytes()[:-1000], b"GGUF", b"nothing"):
        path = tmp_path / "bad.gguf"
        path.write_bytes(data)
        with pytest.raises(
            ModelError,
            match=r"bad\.gguf: cannot be read as a GGUF model: .+\nhint: download it again",
        ):
            load_config(str(path))


def test_without_the_package_a_gguf_file_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_module, "installed", lambda package: package != "gguf")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(
        ModelError, match=r"needs gguf, not installed here\nhint: pip install 'tunesmith\[gguf\]'"
    ):
        load_config(str(tmp_path / "x.gguf"))


def test_another_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"a file, and no \.gguf"):
        load_config(str(tmp_path / "model.bin"))


# ---- saved folders


def test_a_saved_folder_is_right_for_transformers_4_too(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5},
    )
    model, tokenizer = transformers.LlamaForCausalLM(config), byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    fit_embeddings(model, tokenizer)
    complete_tokenizer(tokenizer)
    save(model, tokenizer, tmp_path / "saved")
    written = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert written["rope_theta"] == 5e5
    assert written["rope_scaling"] == {"rope_type": "linear", "factor": 2.0}
    assert written["torch_dtype"] == "float32"
    settings = json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["additional_special_tokens"] == ["<|user|>"]
    assert load_config(str(tmp_path / "saved")).rope_parameters == config.rope_parameters
    again = load_tokenizer(str(tmp_path / "saved"))
    assert type(again) is type(tokenizer)
    assert again("<|user|> a b").input_ids == tokenizer("<|user|> a b").input_ids
    assert again.special_tokens_map == tokenizer.special_tokens_map


def test_old_names_of_a_rotary_base_for_each_kind_of_layer() -> None:
    rope = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    found = with_old_names({"text_config": {"rope_parameters": rope}})["text_config"]
    assert (found["rope_theta"], found["rope_local_base_freq"], found["rope_scaling"]) == (
        1e6,
        1e4,
        None,
    )
    assert found["rope_parameters"] == rope


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "gpt2", "bloom", "mamba"])
def test_the_old_names_change_nothing_that_is_read_back(kind: str, tmp_path: Path) -> None:
    model = tiny(kind)
    before = model.config.to_dict()
    save(
        model,
        byte_tokenizer(
            chat_template="{{ messages[0]['content'] }}"
            "{% for m in messages[1:] %}{{ m['content'] }}{% endfor %}"
        ),
        tmp_path / "saved",
    )
    after = load_config(str(tmp_path / "saved")).to_dict()
    set_by_us = {
        "eos_token_id",
        "bos_token_id",
        "pad_token_id",
        "dtype",
        "architectures",
        "_name_or_path",
    }
    assert {k: after.get(k) for k in before.keys() - set_by_us} == {
        k: before[k] for k in before.keys() - set_by_us
    }


def test_a_save_that_fails_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = tiny_llama(), byte_tokenizer()
    complete_tokenizer(tokenizer)
    save(model, tokenizer, tmp_path / "model", 5)
    before = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}

    def fail(folder: Path) -> None:
        raise OSError("no space")

    monkeypatch.setattr(tokenizer, "save_pretrained", fail)
    with pytest.raises(OSError, match="no space"):
        save(model, tokenizer, tmp_path / "model", 9)
    assert {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_ids_beyond_the_number_of_tokens_have_a_row_too() -> None:
    tokenizer, model = byte_tokenizer(), tiny_llama()

    class WithGap:
        def __len__(self) -> int:
            return len(tokenizer)

        def get_vocab(self) -> dict[str, int]:
            return tokenizer.get_vocab() | {"<far>": 300}

    fit_embeddings(model, WithGap())
    assert model.get_input_embeddings().num_embeddings == 301
