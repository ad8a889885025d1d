"""A model sharded over ranks is trained as one process would train it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from on_ranks import on_ranks
from support import made_data, tiny_llama
from train_on_ranks import (
    kept_by_this_rank,
    refused_for_a_row,
    rest_of_it,
    resumed,
    stopped,
    trained,
    trained_adapters,
    trained_in_turn,
    trained_while_writing,
    validated,
)

from tunesmith.rundir import RunDir
from tunesmith.train.checkpoint import latest_checkpoint, load_weights
from tunesmith.train.trackers import read_metrics

MANY = pytest.param(4, marks=pytest.mark.sweep)
WAYS: list[dict[str, Any]] = [
    {},
    {"gradient_checkpointing": True},
    {"share_prefixes": False, "train_batch_size": 1},  # a rank without a row in every step
    {"max_batch_tokens": 60, "label_smoothing_factor": 0.1},  # ranks cut into more or fewer passes
]


def largest_difference(a: dict[str, Any], b: dict[str, Any]) -> float:
    assert a["weights"].keys() == b["weights"].keys()
    return max(float(np.abs(a["weights"][n] - b["weights"][n]).max()) for n in a["weights"])


def numbers(training: dict[str, Any], name: str) -> list[float]:
    return [step[name] for step in training["steps"] if name in step]


@pytest.mark.parametrize("number", [2, MANY])
def test_every_step_is_that_of_one_process(tmp_path: Path, number: int) -> None:
    alone = trained_in_turn(tmp_path / "one", WAYS)
    for one, *ranks in zip(
        alone, *on_ranks(number, trained_in_turn, tmp_path / "several", WAYS), strict=True
    ):
        for rank in ranks:
            for name in ("loss", "grad_norm", "validation_loss", "learning_rate", "trained_tokens"):
                assert numbers(rank, name) == pytest.approx(numbers(one, name), abs=1e-5)
            assert rank["result"].best_step == one["result"].best_step
        assert largest_difference(ranks[0], one) < 1e-5
        assert [len(rank["weights"]) for rank in ranks[1:]] == [0] * (number - 1)


def test_rows_are_packed_where_weights_are_gathered_in_bfloat16(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", {"dtype": "bfloat16"})
    for rank in on_ranks(2, trained, tmp_path / "two", {"dtype": "bfloat16"}):
        assert not any("padded" in note for note in rank["result"].notes)
        assert numbers(rank, "loss") == pytest.approx(numbers(one, "loss"), rel=0.01)


def test_adapters_are_those_of_one_process_on_the_base_as_it_was(tmp_path: Path) -> None:
    one = trained_adapters(tmp_path / "one", {})
    two, other = on_ranks(2, trained_adapters, tmp_path / "two", {})
    assert numbers(two, "loss") == pytest.approx(numbers(one, "loss"), abs=1e-5)
    assert two["weights"].keys() == one["weights"].keys()
    assert all("lora_" in name for name in two["weights"])
    # from zero
    assert all(np.abs(w).max() > 1e-3 for name, w in two["weights"].items() if "lora_B" in name)
    assert largest_difference(two, one) < 1e-5
    for name, weight in one["merged"].items():
        assert np.allclose(two["merged"][name], weight, rtol=0, atol=1e-5), name
        if "proj" not in name:
            assert np.array_equal(two["merged"][name], weight), name
    assert not other["weights"]


@pytest.mark.sweep
def test_copies_shared_by_two_processes_each_take_the_steps_of_one(tmp_path: Path) -> None:
    one = trained(tmp_path / "one")
    groups = {"fsdp": {"shards": 2}}
    ranks = on_ranks(4, trained, tmp_path / "four", groups)
    for rank in ranks:
        for name in ("loss", "grad_norm", "validation_loss"):
            assert numbers(rank, name) == pytest.approx(numbers(one, name), abs=1e-5)
    assert largest_difference(ranks[0], one) < 1e-5
    # half of every weight on each rank, and so in two files
    found = latest_checkpoint(RunDir(tmp_path / "four").checkpoints)
    assert found is not None
    numbers_of_all = sum(weight.size for weight in one["weights"].values())
    kept = on_ranks(4, kept_by_this_rank, groups)
    assert all(own == pytest.approx(numbers_of_all / 2, rel=0.02) for own in kept)
    rest = on_ranks(2, resumed, tmp_path / "four")[0]
    assert rest["result"].history == ranks[0]["result"].history


def test_only_the_leader_writes_and_every_step_is_written_once(tmp_path: Path) -> None:
    on_ranks(2, trained, tmp_path)
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [*range(1, 9)]
    files = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"metrics.jsonl", "checkpoints"}


def test_in_bfloat16_the_losses_are_those_of_one_process_up_to_rounding(tmp_path: Path) -> None:
    changes = {"dtype": "bfloat16"}
    one, (several, _) = (
        trained(tmp_path / "one", changes),
        on_ranks(2, trained, tmp_path / "several", changes),
    )
    assert several["result"].dtype == "bfloat16"
    # 8 significant bits
    assert numbers(several, "loss") == pytest.approx(numbers(one, "loss"), rel=2**-8)
    assert all(weight.dtype == np.float32 for weight in several["weights"].values())


@pytest.mark.parametrize(
    "first, then", [(2, 1), (1, 2), pytest.param(4, 2, marks=pytest.mark.sweep)]
)
def test_what_some_processes_have_saved_others_go_on_from(
    tmp_path: Path, first: int, then: int
) -> None:
    """In the middle of an epoch; the last rank alone is told to stop."""
    undisturbed = trained(tmp_path / "undisturbed")
    said = (
        on_ranks(first, stopped, tmp_path / "run", 3, first - 1)
        if first > 1
        else [stopped(tmp_path / "run", 3, 0)]
    )
    assert said == ["interrupted by SIGUSR1 after step 3 of 8, which is saved"] * first
    checkpoint = latest_checkpoint(RunDir(tmp_path / "run").checkpoints)
    assert checkpoint is not None
    shards = [*(checkpoint.path / "model").glob("*.safetensors")]
    assert len(shards) == (first if first > 1 else 0)
    rest = on_ranks(then, resumed, tmp_path / "run")[0] if then > 1 else resumed(tmp_path / "run")
    assert numbers(rest, "loss") == pytest.approx(numbers(undisturbed, "loss")[3:], abs=1e-5)
    assert largest_difference(rest, undisturbed) < 1e-5


def test_steps_are_taken_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    for seen in on_ranks(2, trained_while_writing, tmp_path, False):
        assert [step for step, _ in seen] == [*range(1, 9)]
        assert not any(there for step, there in seen if step < 6)
        assert seen[-1] == (8, True)
    assert not [*RunDir(tmp_path).checkpoints.glob(".*")]
    # what was copied after step 4, though it was written after step 5
    rest_of_it(tmp_path / "one")
    saved = []
    for folder in (tmp_path, tmp_path / "one"):
        model = tiny_llama()
        load_weights(RunDir(folder).checkpoints / "step-000004", model)
        saved.append({"weights": {n: w.detach().numpy() for n, w in model.named_parameters()}})
    assert largest_difference(saved[0], saved[1]) < 1e-5


def test_kill_9_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    """What was copied after step 4 and begun to be written is not taken for a checkpoint."""
    undisturbed = rest_of_it(tmp_path / "undisturbed")
    with pytest.raises((EOFError, AssertionError)):  # of the rank that dies or of the other
        on_ranks(2, trained_while_writing, tmp_path / "run", True)
    folder = RunDir(tmp_path / "run").checkpoints
    assert (folder / ".step-000004.tmp").is_dir()
    found = latest_checkpoint(folder)
    assert found is not None
    assert found.step == 2
    rest = on_ranks(2, rest_of_it, tmp_path / "run")[0]
    assert numbers(rest, "loss") == pytest.approx(numbers(undisturbed, "loss")[2:], abs=1e-5)
    assert largest_difference(rest, undisturbed) < 1e-5


def test_a_damaged_shard_makes_the_checkpoint_before_it_the_latest(tmp_path: Path) -> None:
    on_ranks(2, trained, tmp_path)
    found = latest_checkpoint(RunDir(tmp_path).checkpoints)
    assert found is not None
    assert found.step == 8
    shard = sorted((found.path / "optimizer").glob("*.safetensors"))[1]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    before = latest_checkpoint(RunDir(tmp_path).checkpoints)
    assert before is not None
    assert before.step == 4


def test_validation_is_given_the_whole_model_on_every_rank(tmp_path: Path) -> None:
    one = validated(tmp_path / "one")
    for rank in on_ranks(2, validated, tmp_path / "several"):
        assert rank == pytest.approx(one, abs=1e-3)


def test_a_row_whose_loss_is_nan_is_named_by_every_rank(tmp_path: Path) -> None:
    data = made_data(30)
    trained_tokens = [data.row(r)[-data.num_trained[r] :].tolist() for r in range(len(data))]
    everywhere = [token for row in trained_tokens for token in row]
    row = next(i for i, own in enumerate(trained_tokens) if everywhere.count(own[-1]) == 1)
    said = on_ranks(2, refused_for_a_row, tmp_path, row)
    assert said[0] == said[1]
    assert f"rows r{row})" in said[0]
