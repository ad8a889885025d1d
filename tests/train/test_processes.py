"""Several processes are refused before any work, and no gradient bypasses their reduction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from loss_oracle import build

from tunesmith.errors import InputError
from tunesmith.recipe import FsdpConfig, LoraConfig, TrainConfig, build_recipe
from tunesmith.stages.preflight import check_before_work
from tunesmith.train import processes
from tunesmith.train.loss import _PlainHead, add_lookups_in_place, split_model
from tunesmith.train.processes import check_processes, check_single_process


def test_torchrun_with_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        InputError,
        match=r"^2 processes were started \(WORLD_SIZE=2\), and only `tunesmith run` and "
        r"`tunesmith resume` share their work among several\n"
        r"hint: run this command without torchrun, or with --nproc-per-node=1$",
    ):
        check_single_process()


@pytest.mark.parametrize("world_size", [None, "", "1"])
def test_one_process_is_not_refused(
    monkeypatch: pytest.MonkeyPatch, world_size: str | None
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world_size is not None:
        monkeypatch.setenv("WORLD_SIZE", world_size)
    check_single_process()


def test_several_processes_are_refused_before_the_output_folder_and_the_model_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    (tmp_path / "rows.csv").write_text("text,label\n")
    values = {
        "model": str(tmp_path / "no-model"),
        "data": {"source": str(tmp_path / "rows.csv"), "task": "classify"},
        "output_dir": str(tmp_path),
    }
    with pytest.raises(InputError, match="4 processes were started"):
        check_before_work(build_recipe(values)[0], trainings=1)


@pytest.mark.parametrize("key, value, as_it_must_be", [
    ("optim", "muon", "adamw"),
    ("merge_with_base", 0.3, "0.0"),
    ("weights_dtype", "bfloat16", "float32"),
    ("neftune_noise_alpha", 5.0, "0.0"),
    ("torch_compile", True, "false"),
    ("use_liger_kernel", True, "false"),
    ("optim_in_backward", True, "false"),
    ("offload_optimizer", "cpu", "null"),
    ("offload_activations", "disk", "null"),
])  # fmt: skip
def test_what_several_processes_cannot_do_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, key: str, value: object, as_it_must_be: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    in_a_group_of(2, monkeypatch)
    check_processes(TrainConfig())
    with pytest.raises(
        InputError,
        match=rf"train.{key} with 2 processes: only one process can do that\n"
        rf"hint: train.{key}={as_it_must_be}, or ",
    ):
        check_processes(TrainConfig(**{key: value}))


def test_adapters_on_four_bits_are_one_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    in_a_group_of(2, monkeypatch)
    check_processes(TrainConfig(lora=LoraConfig()))
    with pytest.raises(
        InputError,
        match=r"^train.lora.load_in_4bit with 2 processes: only one process can do that\n"
        r"hint: train.lora.load_in_4bit=false, or run `tunesmith` without torchrun$",
    ):
        check_processes(TrainConfig(lora=LoraConfig(load_in_4bit=True)))


@pytest.mark.parametrize("number, shards, message", [
    (4, 3, "3 with 4 processes: they are not divided into groups of 3"),
    (2, 4, "4 with 2 processes: they are not divided into groups of 4"),
    (1, 2, "2 with 1 process: they are not divided into groups of 2"),
    (4, 2, ""),
    (4, 4, ""),
    (1, 1, ""),
    (4, None, ""),
])  # fmt: skip
def test_groups_that_share_a_copy_have_to_be_equally_large(
    monkeypatch: pytest.MonkeyPatch, number: int, shards: int | None, message: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(number))
    in_a_group_of(number, monkeypatch)
    config = TrainConfig(fsdp=FsdpConfig(shards=shards))
    if not message:
        check_processes(config)
        return
    with pytest.raises(InputError, match=rf"^train.fsdp.shards = {message}\nhint: "):
        check_processes(config)


@pytest.mark.parametrize("number, device, fine", [
    (2, "cuda", True), (2, "cpu", False), (1, "cuda", False),
])  # fmt: skip
def test_offload_is_for_several_processes_with_gpus(
    monkeypatch: pytest.MonkeyPatch, number: int, device: str, fine: bool
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(number))
    in_a_group_of(number, monkeypatch)
    monkeypatch.setattr(processes, "default_device", lambda: device)
    config = TrainConfig(fsdp=FsdpConfig(cpu_offload=True))
    if fine:
        check_processes(config)
        return
    with pytest.raises(
        InputError, match=rf"there (is|are) {number}, on {device}\nhint: train.fsdp"
    ):
        check_processes(config)


def in_a_group_of(world_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: world_size > 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world_size)


def test_gradients_are_written_in_place_only_in_one_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for world_size, in_place in ((1, True), (2, False)):
        in_a_group_of(world_size, monkeypatch)
        model = build("llama_tied")
        add_lookups_in_place(split_model(model))
        assert model.get_input_embeddings().sparse == in_place


def test_a_gradient_written_in_place_among_several_processes_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states_NH, weight_VH = (
        torch.ones(1, 4, requires_grad=True),
        torch.ones(3, 4, requires_grad=True),
    )
    loss = _PlainHead.apply(states_NH, weight_VH, torch.tensor([2]), 8, True)
    in_a_group_of(2, monkeypatch)
    with pytest.raises(AssertionError, match="hooks of DDP and FSDP"):
        loss.backward()
