"""The plan of a training on several processes, beside what each of them has in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from memory_on_ranks import alive_in_trainings, config, rows, shape
from on_ranks import on_ranks

from tunesmith.models.load import empty_model
from tunesmith.recipe import LoraConfig
from tunesmith.train import peak
from tunesmith.train.memory_plan import MemoryPlan, Place, changes, plan_memory

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ROOM = 1 << 40


def planned(processes: int, device: torch.device = CPU, layers: int = 3, **keys: Any) -> MemoryPlan:
    place = Place(device, ROOM, processes=processes)
    return plan_memory(shape(layers), rows(), config(**keys), place)


@pytest.mark.parametrize(
    ("number", "ways"),
    [
        (2, [{}, {"dtype": "bfloat16", "max_batch_tokens": 128}]),
        pytest.param(
            4,
            [{"gradient_checkpointing": True}, {"lora": LoraConfig(r=4)}, {"fsdp": {"shards": 2}}],
            marks=pytest.mark.sweep,
        ),
    ],
    ids=["two", "four"],
)
def test_what_is_planned_to_be_alive_is_alive_on_every_rank(
    tmp_path: Path, number: int, ways: list[dict[str, Any]]
) -> None:
    measured = on_ranks(number, alive_in_trainings, tmp_path, ways)
    for i, keys in enumerate(ways):
        found = planned(number, **keys).peak
        most = max(of_rank[i] for of_rank in measured)
        assert found.total - found.holes == pytest.approx(most, rel=0.02), keys


def test_weights_and_states_are_divided_and_embeddings_are_gathered() -> None:
    number = sum(p.numel() for p in empty_model(shape()).parameters())
    for processes, shards in ((4, None), (4, 2)):
        fsdp = {"shards": shards}
        found = planned(processes, CUDA, fsdp=fsdp, train_batch_size=16)
        parts = shards or processes
        assert found.peak.weights == pytest.approx(4 * number / parts, rel=0.01)
        assert found.peak.optimizer == pytest.approx(8 * number / parts, rel=0.01)
        assert found.beside == pytest.approx(12 * number / parts, rel=0.01)
        # embeddings and head are gathered for the whole pass
        assert found.peak.gathered >= 2 * 4 * 2000 * 64


def test_offload_takes_weights_and_states_off_the_device() -> None:
    usual, away = planned(2, CUDA), planned(2, CUDA, fsdp={"cpu_offload": True})
    assert (away.peak.weights, away.peak.gradients, away.peak.optimizer) == (0, 0, 0)
    assert away.peak.gathered == usual.peak.gathered
    assert away.beside == pytest.approx(usual.beside * 28 / 12, rel=0.01)  # 16 bytes and 12


def test_a_deep_sharded_model_is_planned_from_shallow_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak.DEPTHS == (2, 3)
    drawn = planned(2, CUDA, layers=7).peak
    monkeypatch.setattr(peak, "DEPTHS", (2, 7))
    assert drawn.total == pytest.approx(planned(2, CUDA, layers=7).peak.total, rel=0.005)


def test_no_group_is_left_behind() -> None:
    planned(2, CUDA)
    assert not torch.distributed.is_initialized()


def test_several_processes_are_proposed_what_they_can_do() -> None:
    found = [change.keys for change in changes(config(), CUDA, True, True, 64, processes=2)]
    assert found[0] == "train.fsdp.cpu_offload=true"
    assert not any("adafactor" in keys or "8bit" in keys or "4bit" in keys for keys in found)
    on_cpu = changes(config(), CPU, checkpoints=True, alone=True, longest=64, processes=2)
    assert [change.keys.split()[0] for change in on_cpu] == ["train.lora.r=16"]
