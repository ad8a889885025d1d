"""Several processes are refused before any work, and no gradient bypasses their reduction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from loss_oracle import build

from tunesmith.errors import InputError
from tunesmith.recipe import TrainConfig, build_recipe
from tunesmith.stages.preflight import check_before_work
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
    ("lora", {"r": 4}, "null"),
    ("merge_with_base", 0.3, "0.0"),
    ("weights_dtype", "bfloat16", "float32"),
    ("neftune_noise_alpha", 5.0, "0.0"),
    ("torch_compile", True, "false"),
    ("use_liger_kernel", True, "false"),
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


def in_a_group_of(world_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
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
