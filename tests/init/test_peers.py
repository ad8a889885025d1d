"""Configurations of Axolotl, LLaMA-Factory and TRL as recipes: what each key becomes, and what is
left with a reason.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith.data.templates.environment import used_columns
from tunesmith.errors import RecipeError
from tunesmith.init.peer_reasons import ITSELF, REASONS, UNKNOWN
from tunesmith.init.peers import NAMES, SAME, Translation, translate
from tunesmith.recipe import Recipe, build_recipe

AXOLOTL = {"base_model": "org/base", "sequence_len": 2048}
FACTORY = {"model_name_or_path": "org/base", "stage": "sft", "template": "qwen"}
TRL = {"model_name_or_path": "org/base", "dataset_name": "org/rows"}


def translated(folder: Path, values: dict[str, Any]) -> Translation:
    path = folder / "peer.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return translate(path)


def recipe(folder: Path, values: dict[str, Any]) -> Recipe:
    return build_recipe(translated(folder, values).values)[0]


def test_axolotl(tmp_path: Path) -> None:
    found = translated(
        tmp_path,
        {
            **AXOLOTL,
            "datasets": [{"path": "org/alpaca", "type": "alpaca"}],
            "val_set_size": 0.05,
            "adapter": "lora",
            "lora_r": 8,
            "lora_alpha": 16,
            "lora_dropout": 0.05,
            "lora_target_linear": True,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 4,
            "num_epochs": 2,
            "optimizer": "paged_adamw_8bit",
            "lr_scheduler": "linear",
            "learning_rate": "2e-4",
            "bf16": True,
            "sample_packing": True,
            "flash_attention": False,
            "wandb_project": "mine",
            "own_key": 3,
        },
    )
    assert found.tool == "Axolotl"
    assert found.values == {
        "model": "org/base",
        "data": {
            "source": "org/alpaca",
            "split": {"train": 0.85, "validation": 0.05, "test": 0.1},
        },
        "train": {
            "learning_rate": "2e-4",
            "max_length": 2048,
            "num_train_epochs": 2,
            "train_batch_size": 8,
            "optim": "adamw_8bit",
            "lr_scheduler_type": "linear",
            "dtype": "bfloat16",
            "lora": {"r": 8, "lora_alpha": 16},
            "report_to": ["wandb"],
        },
    }
    assert set(found.left) == {"micro_batch_size", "lora_dropout", "sample_packing", "own_key"}
    assert found.left["own_key"] == UNKNOWN
    assert "8 for one device" in found.left["micro_batch_size"]
    assert build_recipe(found.values)[0].train.learning_rate == 2e-4


def test_axolotls_own_format_becomes_a_template(tmp_path: Path) -> None:
    kind = {
        "field_instruction": "ask",
        "field_input": "more text",
        "field_output": "say",
        "format": "Q: {instruction}\n{input}",
    }
    found = recipe(tmp_path, {**AXOLOTL, "datasets": [{"path": "rows.jsonl", "type": kind}]})
    assert found.data.template == 'Q: {{ ask }}\n{{ row["more text"] }} ||| {{ say }}'
    assert found.data.source == "rows.jsonl"


def test_several_data_sets_are_a_mixture(tmp_path: Path) -> None:
    listed = [
        {"path": "json", "data_files": "a.jsonl", "type": "chat_template"},
        {"path": "org/b", "split": "part", "type": "completion", "field_messages": "talk"},
    ]
    found = translated(tmp_path, {**AXOLOTL, "datasets": listed, "test_datasets": listed[:1]})
    data = build_recipe(found.values)[0].data
    assert [one.source for one in data.source or () if not isinstance(one, str)] == [
        "a.jsonl",
        "org/b:part",
    ]
    assert data.validation_source == "a.jsonl"
    assert set(found.left) == {
        "datasets org/b: type completion",
        "datasets org/b: field_messages talk",
    }


def test_llamafactory_looks_data_sets_up(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    listed = {
        "mine": {
            "file_name": "mine.json",
            "columns": {"prompt": "q", "query": "c", "response": "a"},
        },
        "chats": {"hf_hub_url": "org/chats", "split": "train", "formatting": "sharegpt"},
        "pairs": {"file_name": "p.json", "ranking": True},
    }
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(listed), encoding="utf-8")
    found = translated(
        tmp_path,
        {
            **FACTORY,
            "finetuning_type": "lora",
            "lora_rank": 8,
            "lora_target": "q_proj,v_proj",
            "dataset": "mine, chats,pairs,gone",
            "cutoff_len": 512,
            "max_samples": 100,
            "do_train": True,
            "num_train_epochs": 3.0,
        },
    )
    assert found.tool == "LLaMA-Factory"
    assert found.values["data"] == {
        "source": [
            {
                "source": str(tmp_path / "data" / "mine.json"),
                "template": "{{ q }}\n\n{{ c }} ||| {{ a }}",
            },
            {"source": "org/chats:train"},
        ],
        "max_rows": 100,
    }
    assert found.values["train"] == {
        "max_length": 512,
        "num_train_epochs": 3,
        "lora": {"r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]},
    }
    assert set(found.left) == {"dataset pairs", "dataset gone", "template"}


def test_without_dataset_info_the_names_are_left(tmp_path: Path) -> None:
    found = translated(tmp_path, {**FACTORY, "dataset": "identity"})
    assert "data" not in found.values
    assert found.left["dataset"].startswith("identity: there is no data/dataset_info.json")


def test_trl(tmp_path: Path) -> None:
    found = translated(
        tmp_path,
        {
            **TRL,
            "dataset_train_split": "part",
            "dataset_test_split": "check",
            "eval_strategy": "steps",
            "use_peft": False,
            "lora_r": 32,
            "torch_dtype": "float32",
            "max_seq_length": 256,
            "warmup_steps": 100,
            "report_to": "none",
            "push_to_hub": False,
            "num_train_epochs": 1.5,
            "eos_token": "<|im_end|>",
        },
    )
    assert found.tool == "TRL"
    assert found.values == {
        "model": "org/base",
        "data": {"source": "org/rows:part", "validation_source": "org/rows:check"},
        "train": {
            "max_length": 256,
            "num_train_epochs": 2,
            "dtype": "float32",
            "report_to": [],
        },
    }
    assert set(found.left) == {"eval_strategy", "warmup_steps", "num_train_epochs", "eos_token"}


@pytest.mark.parametrize(
    "peer, keys",
    [
        (AXOLOTL, {"adapter": "qlora"}),
        (AXOLOTL, {"adapter": "qlora", "load_in_4bit": True}),
        (FACTORY, {"finetuning_type": "lora", "quantization_bit": 4}),
        (TRL, {"use_peft": True, "load_in_4bit": True}),
    ],
)
def test_qlora_is_lora_on_four_bits(
    tmp_path: Path, peer: dict[str, Any], keys: dict[str, Any]
) -> None:
    found = translated(tmp_path, {**peer, **keys})
    lora = build_recipe(found.values)[0].train.lora
    assert lora is not None
    assert lora.load_in_4bit
    assert not found.left.keys() & keys.keys()


def test_other_bits_and_bits_without_adapters_are_left(tmp_path: Path) -> None:
    eight = translated(tmp_path, {**FACTORY, "finetuning_type": "lora", "quantization_bit": 8})
    assert eight.values["train"] == {"lora": {}}
    assert eight.left["quantization_bit"].startswith("quantised weights are not trained but for")
    full = translated(tmp_path, {**TRL, "load_in_4bit": True})
    assert "train" not in full.values
    assert "load_in_4bit" in full.left


@pytest.mark.parametrize(
    "peer, key",
    [
        (AXOLOTL, "early_stopping_patience"),
        (FACTORY, "early_stopping_steps"),
        (TRL, "early_stopping_patience"),
    ],
)
def test_early_stopping_is_counted_in_epochs(
    tmp_path: Path, peer: dict[str, Any], key: str
) -> None:
    found = translated(tmp_path, {**peer, key: 3})
    assert build_recipe(found.values)[0].train.early_stopping_patience == 3
    assert found.left[key].startswith("counted in epochs here")
    assert key not in translated(tmp_path, {**peer, key: None}).left


def test_reasons_and_what_is_left_keep_their_order(tmp_path: Path) -> None:
    unknown = [f"key_{i}" for i in (3, 1, 2, 5, 4)]
    listed = [{"path": "org/a", **dict.fromkeys(unknown, 1)}]
    path = tmp_path / "peer.yaml"
    values = {**AXOLOTL, "datasets": listed, "optimizer": "sgd"}
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    left = translate(path).left
    assert list(left) == [*(f"datasets org/a: {key}" for key in unknown), "optimizer"]
    assert left["optimizer"] == (
        "sgd is not known; train.optim is one of adamw, adamw_8bit, adafactor, muon"
    )


def test_what_a_recipe_says_in_its_own_words_is_named(tmp_path: Path) -> None:
    left = translated(
        tmp_path,
        {**TRL, "torch_compile": True, "save_steps": 100, "fsdp": "full_shard", "tf32": True},
    ).left
    assert "train.torch_compile" in left["torch_compile"]
    assert "train.save_steps" in left["save_steps"]
    assert "torchrun" in left["fsdp"]
    assert left["tf32"] == ITSELF


def test_a_column_with_quotes_reads_in_its_template(tmp_path: Path) -> None:
    name = 'the "text"'
    kind = {"field_instruction": name, "field_output": "say"}
    found = recipe(tmp_path, {**AXOLOTL, "datasets": [{"path": "rows.jsonl", "type": kind}]})
    assert used_columns(str(found.data.template)) == {name, "say"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 1e-4}, "neither a configuration of Axolotl nor of LLaMA-Factory"),
        ({**FACTORY, "stage": "dpo"}, "dpo is not supervised fine-tuning"),
        ({**AXOLOTL, "rl": "grpo"}, "grpo is not supervised fine-tuning"),
        ({**AXOLOTL, "datasets": ["a"]}, "expected a list of mappings"),
        ({**AXOLOTL, "num_epochs": "many"}, "num_train_epochs = 'many', expected a number"),
        ([1], "a configuration is a mapping, found list"),
    ],
)
def test_what_cannot_be_translated_at_all_is_an_error(
    tmp_path: Path, values: Any, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        translated(tmp_path, values)


def test_a_file_that_is_not_there_or_no_yaml_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No such file"):
        translate(tmp_path / "gone.yml")
    (tmp_path / "bad.yml").write_text("[", encoding="utf-8")
    with pytest.raises(RecipeError, match="not readable as YAML"):
        translate(tmp_path / "bad.yml")


def test_every_translated_key_is_one_of_a_recipe() -> None:
    for dotted in SAME.values():
        section, _, key = dotted.rpartition(".")
        fields = Recipe.model_fields
        if section:
            model = fields[section].annotation
            assert isinstance(model, type)
            fields = model.model_fields  # type: ignore[attr-defined]
        assert key in fields, dotted


def test_no_key_is_both_translated_and_left_with_a_reason() -> None:
    renamed = {theirs for names in NAMES.values() for theirs in names}
    assert not set(REASONS) & (set(SAME) | renamed)
