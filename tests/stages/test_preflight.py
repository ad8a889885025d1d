"""What would stop a run later is found before a row is read, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import byte_tokenizer, classify_values, tiny_llama

from tunesmith import stages
from tunesmith.errors import InputError, ModelError, RecipeError
from tunesmith.models.load import empty_model
from tunesmith.recipe import LoraConfig, TrainConfig, build_recipe
from tunesmith.stages import preflight
from tunesmith.stages.preflight import check_output, checkpoint_bytes, lora_parameters, model_bytes
from tunesmith.train.adapters import wrap_lora
from tunesmith.train.checkpoint import save_checkpoint
from tunesmith.train.optim import build_optimizers

Usage = namedtuple("Usage", "total used free")


def recipe(folder: Path, model: Path | str, **train: Any) -> Any:
    return build_recipe(classify_values(folder, model, **train))[0]


@pytest.fixture
def no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tunesmith.stages.prepare.store_rows", lambda data, path: pytest.fail("rows were looked at")
    )


def refused(wanted: Any, folder: Path, error: type[InputError], message: str) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(error, match=message) as found:
        stages.prepare.prepare(wanted)
    assert found.value.exit_code == 2
    assert sorted(folder.rglob("*")) == before


# ---- the model


def test_damaged_weights_are_found_before_the_rows_are_read(
    tiny_model_dir: Path, tmp_path: Path, no_rows: None
) -> None:
    model = tiny_llama()
    model.model.norm.weight.data[3] = float("nan")
    model.save_pretrained(tmp_path / "nan")
    byte_tokenizer().save_pretrained(tmp_path / "nan")
    refused(
        recipe(tmp_path, tmp_path / "nan"),
        tmp_path,
        ModelError,
        r"NaN or infinity in 1 tensor: model\.norm\.weight",
    )
    shutil.copytree(tiny_model_dir, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    refused(recipe(tmp_path, tmp_path / "cut"), tmp_path, ModelError, "damaged or cut short")


def test_a_model_that_is_nowhere_is_found_before_the_rows_are_read(
    tmp_path: Path, no_rows: None
) -> None:
    refused(recipe(tmp_path, "nobody/nothing"), tmp_path, ModelError, "the hub does not give it")
    refused(
        recipe(tmp_path, tmp_path / "none.gguf"),
        tmp_path,
        ModelError,
        r"none\.gguf: no such folder or file",
    )


# ---- the output folder


def test_an_output_that_cannot_be_written_is_refused(
    tmp_path: Path, tiny_model_dir: Path, no_rows: None
) -> None:
    full, file, link = tmp_path / "full", tmp_path / "file", tmp_path / "link"
    full.mkdir()
    (full / "x").write_text("")
    file.write_text("")
    link.symlink_to(tmp_path / "gone")
    wanted = recipe(tmp_path, tiny_model_dir)
    for path, message in [
        (full, "exists already and is not empty\nhint: `tunesmith resume"),
        (file, "file is a file"),
        (file / "run", "file is a file"),
        (file / "more" / "run", "file is a file"),
        (link, "link is a link to .*gone, which is not there"),
        (link / "run", "link is a link to .*gone, which is not there"),
        (tmp_path / ("x" * 300), "File name too long"),
    ]:
        refused(wanted.model_copy(update={"output_dir": str(path)}), tmp_path, RecipeError, message)


def test_an_output_is_a_name_and_no_mounted_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="not a name"):
        check_output(Path("."))
    (tmp_path / "disk").mkdir()
    check_output(tmp_path / "disk")
    monkeypatch.setattr(Path, "is_mount", lambda self: True)
    with pytest.raises(RecipeError, match=r"a mounted disk\nhint: name a folder in it"):
        check_output(tmp_path / "disk")


def test_a_folder_that_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(RecipeError, match=f"{tmp_path} cannot be written to"):
        check_output(tmp_path / "a" / "b")


# ---- packages


@pytest.mark.parametrize(
    "train, message",
    [
        (
            {"report_to": ["wandb"]},
            r"report_to = wandb needs wandb, which is not installed\n"
            r"hint: pip install 'tunesmith\[trackers\]'",
        ),
        (
            {"lora": {}},
            r"train\.lora needs peft, which is not installed\nhint: pip install "
            r"'tunesmith\[lora\]'",
        ),
        ({"optim": "adamw_8bit"}, "adamw_8bit needs torchao, which is not installed"),
        ({"weights_dtype": "bfloat16"}, "bfloat16 needs torchao, which is not installed"),
        ({"weights_dtype": "bfloat16", "optim": "muon"}, "small updates would be rounded away"),
        ({"use_liger_kernel": True}, "needs an NVIDIA GPU"),
    ],
)
def test_a_package_the_recipe_needs_is_missed_before_the_rows_are_read(
    train: dict[str, Any],
    message: str,
    tiny_model_dir: Path,
    tmp_path: Path,
    no_rows: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preflight, "installed", lambda package: False)
    monkeypatch.setattr("tunesmith.train.optim.installed", lambda package: False)
    monkeypatch.setattr(preflight, "default_device", lambda: "cpu")
    refused(recipe(tmp_path, tiny_model_dir, **train), tmp_path, InputError, message)


def test_four_bits_without_a_gpu_are_refused_before_the_rows_are_read(
    tiny_model_dir: Path, tmp_path: Path, no_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "installed", lambda package: True)
    monkeypatch.setattr(preflight, "default_device", lambda: "cpu")
    message = r"load_in_4bit needs an NVIDIA GPU: the model is on cpu\nhint: train\.lora\.load_in"
    wanted = recipe(tmp_path, tiny_model_dir, lora={"load_in_4bit": True})
    refused(wanted, tmp_path, InputError, message)


# ---- the disk


def test_too_small_a_disk_is_found_with_what_is_needed_and_what_is_free(
    tiny_model_dir: Path, tmp_path: Path, no_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 9, 1_500_000))
    message = (
        r"training writes up to \d\.\d MB there, and 1\.5 MB are free\nhint: a model of 0\.\d MB "
        r"and 4 checkpoints"
    )
    refused(
        recipe(tmp_path, tiny_model_dir, save_steps=5, seeds=3),
        tmp_path,
        RecipeError,
        message.replace("a model", "3 times a model"),
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 9, 500_000))
    refused(
        recipe(tmp_path, tiny_model_dir, save_steps=5),
        tmp_path,
        RecipeError,
        message.replace("1\\.5", "0\\.5"),
    )


def test_rows_that_are_only_looked_at_need_no_room_for_a_training(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 9, 10))
    stages.prepare.prepare(recipe(tmp_path, tiny_model_dir), trainings=0)


@pytest.mark.parametrize("optim", ["adamw", "adafactor", "muon"])
def test_a_checkpoint_is_as_large_as_was_foreseen(optim: str, tmp_path: Path) -> None:
    model, config = tiny_llama(vocab_size=3000), TrainConfig(optim=optim)
    optimizers = build_optimizers(model, config)
    model(input_ids=torch.arange(5)[None], labels=torch.arange(5)[None]).loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    path = save_checkpoint(tmp_path, 1, model, optimizers, {})
    written = sum(file.stat().st_size for file in path.iterdir())
    foreseen = checkpoint_bytes(empty_model(model.config), config)
    assert 0.9 * written < foreseen < 1.6 * written


def test_a_saved_model_is_as_large_as_was_foreseen(tmp_path: Path) -> None:
    model = tiny_llama(vocab_size=3000)
    model.save_pretrained(tmp_path)
    assert model_bytes(model, TrainConfig()) == sum(
        tensor.nbytes for tensor in load_file(tmp_path / "model.safetensors").values()
    )


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]])
def test_adapters_are_counted_as_peft_makes_them(targets: str | list[str]) -> None:
    pytest.importorskip("peft")
    config = LoraConfig(r=4, target_modules=targets)
    wanted = sum(p.numel() for p in wrap_lora(tiny_llama(), config).parameters() if p.requires_grad)
    assert lora_parameters(empty_model(tiny_llama().config), config) == wanted
