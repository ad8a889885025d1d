"""QLoRA: refused where it cannot run, asked for as the paper has it, and merged as it was trained.

The last tests run bitsandbytes' kernels for the CPU, which a recipe is not allowed: they are slow.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from support import byte_tokenizer, tiny_llama, write_rows
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tunesmith import stages
from tunesmith.errors import InputError
from tunesmith.models.four_bit import check_four_bit, dequantized
from tunesmith.models.load import load_model
from tunesmith.packages import installed
from tunesmith.recipe import LoraConfig, build_recipe
from tunesmith.rundir import RunDir
from tunesmith.train.adapters import merge_lora, with_base, wrap_lora

IDS_BT = torch.arange(3, 11)[None]
FOUR_BIT = LoraConfig(r=4, load_in_4bit=True)
needs_bitsandbytes = pytest.mark.skipif(
    not installed("bitsandbytes"), reason="bitsandbytes is not installed"
)


def base(folder: Path) -> Path:
    """Wide enough for blocks of 64 numbers."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=259, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def test_without_a_gpu_or_the_package_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="needs an NVIDIA GPU: the model is on cpu"):
        check_four_bit("cpu")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(InputError, match=r"(?s)needs bitsandbytes.*'tunesmith\[gpu\]'"):
        check_four_bit("cuda")


@pytest.mark.parametrize("load_in_4bit", [True, False])
def test_transformers_is_asked_for_nested_nf4_computed_in_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load_in_4bit: bool
) -> None:
    asked: dict[str, Any] = {}

    def from_pretrained(*_: Any, **options: Any) -> Any:
        asked.update(options)
        nothing = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
        return tiny_llama(), {name: set() for name in nothing}

    folder = base(tmp_path / "m")
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)
    load_model(str(folder), device="cpu", load_in_4bit=load_in_4bit)
    assert ("quantization_config" in asked) is load_in_4bit
    if load_in_4bit:
        assert asked["device_map"] == {"": "cpu"}
        assert asked["quantization_config"].to_diff_dict() == {
            "load_in_4bit": True,
            "_load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": "bfloat16",
        }


@pytest.mark.parametrize("lora, times", [(FOUR_BIT, 1), (LoraConfig(r=4), 0)])
def test_peft_prepares_a_model_in_four_bits_and_leaves_checkpointing_to_the_loop(
    monkeypatch: pytest.MonkeyPatch, lora: LoraConfig, times: int
) -> None:
    seen: list[Any] = []

    def prepare(model: Any, **options: Any) -> Any:
        seen.append(options)
        return model

    monkeypatch.setattr(peft, "prepare_model_for_kbit_training", prepare)
    wrap_lora(tiny_llama(), lora)
    assert seen == [{"use_gradient_checkpointing": False}] * times


def test_adapters_are_put_on_another_base() -> None:
    model, other = wrap_lora(tiny_llama(), LoraConfig(r=4)), tiny_llama()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1)
        wanted = model(input_ids=IDS_BT).logits
        found = with_base(model, other, LoraConfig(r=4))(input_ids=IDS_BT).logits
        assert torch.equal(found, wanted)
        assert not torch.equal(tiny_llama()(input_ids=IDS_BT).logits, wanted)


@needs_bitsandbytes
def test_what_is_merged_computes_what_was_trained(tmp_path: Path) -> None:
    """But for bfloat16, in which 4 bits are computed with."""
    folder = str(base(tmp_path / "m"))
    model = wrap_lora(load_model(folder, load_in_4bit=True), FOUR_BIT)
    trainable = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trainable
    assert all("lora_" in name for name in trainable)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.05)
        wanted = model(input_ids=IDS_BT).logits
        plain = dequantized(load_model(folder, load_in_4bit=True))
        merged = merge_lora(with_base(model, plain, FOUR_BIT))
        found = merged(input_ids=IDS_BT).logits
    assert not hasattr(merged.config, "quantization_config")
    assert (found - wanted).abs().max() < 0.01 * wanted.abs().max()
    merged.save_pretrained(tmp_path / "merged")
    again = load_model(str(tmp_path / "merged"))
    assert torch.equal(again(input_ids=IDS_BT).logits, found)


@needs_bitsandbytes
@pytest.mark.slow
def test_a_run_trains_adapters_on_four_bits_and_saves_a_plain_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages.preflight, "check_four_bit", lambda device: None)
    # on a CPU, and there alone, it would keep weights as they were packed for evaluation
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
    values = {
        "model": str(base(tmp_path / "m")),
        "data": {"source": str(write_rows(tmp_path / "rows.csv", 40)), "task": "classify/terse"},
        "train": {"lora": {"r": 4, "load_in_4bit": True}, "num_train_epochs": 2, "report_to": []},
        "output_dir": str(tmp_path / "run"),
    }
    run = RunDir(tmp_path / "run")
    stages.prepare.prepare(build_recipe(values)[0])
    stages.train.train(run)
    assert stages.common.run_recipe(run).train.lora == FOUR_BIT
    saved = load_model(str(run.model))
    assert {weight.dtype for weight in saved.parameters()} == {torch.float32}
