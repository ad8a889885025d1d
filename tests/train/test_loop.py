"""The whole loop: the update of a plain loop, runs that repeat, resuming, stopping, choosing the
best.
"""

from __future__ import annotations

import errno
import importlib.util
import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import made_data, tiny_llama
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tunesmith.errors import InputError, InterruptedRun, TrainingError
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir, file_sha256
from tunesmith.signals import Interrupted, stopping_on_signals
from tunesmith.train import loop, saving
from tunesmith.train.checkpoint import weights
from tunesmith.train.loop import TrainResult, train
from tunesmith.train.loss import Parts, nll_sum
from tunesmith.train.optim import has_compiler
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.packing.tensors import Batch
from tunesmith.train.trackers import MetricsLog, read_metrics


def config(**changes: Any) -> TrainConfig:
    values = {
        "num_train_epochs": 2,
        "train_batch_size": 4,
        "learning_rate": 3e-3,
        "report_to": [],
        "warmup_ratio": 0.2,
    }
    values |= {"dtype": "float32"}  # whatever this machine is fastest at
    return TrainConfig(**{**values, **changes})


def run_once(folder: Path, model: Any = None, **options: Any) -> tuple[Any, TrainResult]:
    model = tiny_llama() if model is None else model
    data = options.pop("data", None) or made_data()
    settings = options.pop("config", config())
    return model, train(model, data, settings, run=RunDir(folder), **options)


def same(a: Any, b: Any) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True)
    )


def plain_loop(data: TrainingData, settings: TrainConfig) -> tuple[Any, list[float]]:
    """What our loop must equal: one padded batch a step through `model(input_ids, labels)` of
    transformers.
    """
    model = tiny_llama().train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1.0, weight_decay=0.0, eps=settings.adam_epsilon
    )
    steps = -(-len(data) // settings.train_batch_size) * settings.num_train_epochs
    warmup = int(np.ceil(steps * settings.warmup_ratio))
    losses = []
    for epoch, first in itertools.product(
        range(settings.num_train_epochs), range(0, len(data), settings.train_batch_size)
    ):
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(data))
        rows = order[first : first + settings.train_batch_size]
        width = data.lengths[rows].max()
        ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
        labels_BT = torch.full((len(rows), width), -100)
        for i, row in enumerate(rows):
            ids = torch.from_numpy(data.row(row).astype(np.int64))
            ids_BT[i, : len(ids)] = ids
            labels_BT[i, data.num_prompt_tokens[row] : len(ids)] = ids[
                data.num_prompt_tokens[row] :
            ]
        mask_BT = torch.arange(width) < torch.from_numpy(data.lengths[rows])[:, None]
        loss = model(input_ids=ids_BT, attention_mask=mask_BT.long(), labels=labels_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        step = len(losses)
        optimizer.param_groups[0]["lr"] = (settings.learning_rate or 0.0) * min(
            step / warmup, (steps - step) / (steps - warmup)
        )
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return model, losses


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("budget", [200, 4096])
def test_every_update_is_the_plain_loops_however_the_step_is_cut(
    tmp_path: Path, share: bool, budget: int
) -> None:
    # A large epsilon keeps Adam from turning rounding in tiny gradients into whole steps.
    settings = config(
        share_prefixes=share, max_batch_tokens=budget, lr_scheduler_type="linear", adam_epsilon=1e-3
    )
    data = made_data(shared=80)
    expected, losses = plain_loop(data, settings)
    found, result = run_once(tmp_path, data=data, config=settings)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [record["loss"] for record in records] == pytest.approx(losses, rel=1e-6)
    for a, b in zip(weights(found).values(), weights(expected).values(), strict=True):
        assert float((a - b).abs().max()) < 1e-6
    assert (result.forward_tokens < 0.8 * result.raw_tokens) == share


def test_tokens_that_stay_on_disk_are_trained_alike(tmp_path: Path) -> None:
    data, file = made_data(), tmp_path / "tokens"
    data.input_ids.tofile(file)
    on_disk = replace(data, input_ids=np.memmap(file, dtype=np.int32, mode="r"))
    assert on_disk.sha256 == data.sha256
    in_memory, _ = run_once(tmp_path / "memory", data=data)
    mapped, _ = run_once(tmp_path / "disk", data=on_disk)
    assert same(in_memory, mapped)


def test_the_loop_minimises_the_objective_it_is_given_and_validates_by_the_likelihood(
    tmp_path: Path,
) -> None:
    """Twice the loss has twice the gradient; the learning rate is too small to change a weight."""
    options = {"config": config(learning_rate=1e-12), "validation": made_data(4, seed=5)}

    def twice(parts: Parts, batch: Batch) -> torch.Tensor:
        return 2 * nll_sum(parts, batch)

    _, plain = run_once(tmp_path / "a", **options)
    _, doubled = run_once(tmp_path / "b", **options, objective=twice)
    a, b = (read_metrics(tmp_path / name / "metrics.jsonl") for name in "ab")
    for name in ("loss", "grad_norm"):
        assert [r[name] for r in b] == pytest.approx([2 * r[name] for r in a], rel=1e-6)
    assert doubled.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=1e-6)


def test_the_same_seed_twice_gives_bit_identical_weights_and_another_seed_does_not(
    tmp_path: Path,
) -> None:
    first, _ = run_once(tmp_path / "a")
    second, _ = run_once(tmp_path / "b")
    other, _ = run_once(tmp_path / "c", config=config(seed=1))
    assert same(first, second)
    assert not same(first, other)


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop_at", [2, 4, 5])
@pytest.mark.parametrize(
    "optim, dtype", [("adamw", "float32"), ("muon", "float32"), ("adamw", "bfloat16")]
)
def test_a_resumed_run_is_bit_identical_to_the_undisturbed_one(
    tmp_path: Path, stop_at: int, optim: str, dtype: str
) -> None:
    noise = 5.0 if optim == "muon" else 0.0
    settings = config(
        save_steps=1 if stop_at != 4 else 2, optim=optim, neftune_noise_alpha=noise, dtype=dtype
    )
    whole, _ = run_once(tmp_path / "whole", config=settings, validation=made_data(4, seed=5))

    def crash(record: dict[str, Any]) -> None:
        if record["step"] == stop_at:
            raise Stop

    with pytest.raises(Stop):
        run_once(
            tmp_path / "cut", config=settings, validation=made_data(4, seed=5), on_progress=crash
        )
    torch.manual_seed(1234)
    resumed, result = run_once(
        tmp_path / "cut", config=settings, validation=made_data(4, seed=5), resume=True
    )
    assert same(whole, resumed)
    steps = [record["step"] for record in read_metrics(tmp_path / "cut" / "metrics.jsonl")]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert result.steps == 6
    assert [entry["step"] for entry in result.history] == [3, 6]


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None or not has_compiler(),
    reason="needs torchao and a C++ compiler",
)
@pytest.mark.parametrize("optim, weights_dtype", [("adamw_8bit", "float32"), ("adamw", "bfloat16")])
def test_a_resumed_run_with_torchaos_optimiser_is_bit_identical_too(
    tmp_path: Path, optim: str, weights_dtype: str
) -> None:
    settings = config(optim=optim, weights_dtype=weights_dtype, save_steps=2)
    model = tiny_llama(vocab_size=512)  # a table of 512 x 32 numbers is kept in 8 bits
    whole, result = run_once(tmp_path / "whole", model=model, config=settings)
    assert result.forward_tokens < 0.8 * result.raw_tokens or result.notes == []
    with pytest.raises(Stop):
        run_once(
            tmp_path / "cut", model=tiny_llama(512), config=settings, on_progress=stop_at_step(5)
        )
    torch.manual_seed(1234)
    resumed, _ = run_once(tmp_path / "cut", model=tiny_llama(512), config=settings, resume=True)
    assert same(whole, resumed)
    assert {p.dtype for p in whole.parameters()} == {getattr(torch, weights_dtype)}
    records = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    assert records[-1]["loss"] < records[0]["loss"]


def test_a_damaged_last_checkpoint_does_not_change_the_final_weights(tmp_path: Path) -> None:
    whole, _ = run_once(tmp_path / "whole", config=config(save_steps=2))
    with pytest.raises(Stop):
        run_once(tmp_path / "cut", config=config(save_steps=2), on_progress=stop_at_step(5))
    (tmp_path / "cut" / "checkpoints" / "step-000004" / "model.safetensors").write_bytes(b"torn")
    resumed, _ = run_once(tmp_path / "cut", config=config(save_steps=2), resume=True)
    assert same(whole, resumed)


def stop_at_step(step: int) -> Any:
    def stop(record: dict[str, Any]) -> None:
        if record["step"] == step:
            raise Stop

    return stop


def test_a_finished_run_resumed_takes_no_step(tmp_path: Path) -> None:
    first, _ = run_once(tmp_path)
    again, result = run_once(tmp_path, resume=True)
    assert same(first, again)
    assert result.steps == 6
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 6


def test_resuming_with_other_data_or_settings_is_refused_by_name(tmp_path: Path) -> None:
    run_once(tmp_path)
    with pytest.raises(InputError, match="cannot be resumed, training data has changed"):
        run_once(tmp_path, data=made_data(seed=9), resume=True)
    with pytest.raises(
        InputError,
        match=r"cannot be resumed, train\.learning_rate has changed: was 0\.003, is 0\.1",
    ):
        run_once(tmp_path, config=config(learning_rate=0.1), resume=True)


def test_a_used_folder_is_not_trained_into_again(tmp_path: Path) -> None:
    run_once(tmp_path)
    with pytest.raises(InputError, match="there are checkpoints of an earlier run"):
        run_once(tmp_path)


@pytest.mark.parametrize(
    "number, name, code",
    [
        (signal.SIGINT, "Ctrl-C", 130),
        (signal.SIGTERM, "SIGTERM", 143),
        (signal.SIGUSR1, "SIGUSR1", 138),
    ],
)
def test_a_signal_saves_the_step_and_says_how_to_go_on(
    tmp_path: Path, number: int, name: str, code: int
) -> None:
    def press(record: dict[str, Any]) -> None:
        if record["step"] == 2:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with pytest.raises(InterruptedRun) as stopped:
        run_once(tmp_path, on_progress=press)
    assert str(stopped.value) == (
        f"interrupted by {name} after step 2 of 6, which is saved\n"
        f"hint: tunesmith resume {tmp_path}"
    )
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) == before
    assert (tmp_path / "checkpoints" / "step-000002").is_dir()
    whole, _ = run_once(tmp_path / "whole")
    resumed, _ = run_once(tmp_path, resume=True)
    assert same(whole, resumed)


def test_a_signal_in_the_last_step_stops_what_comes_after_it(tmp_path: Path) -> None:
    def press(record: dict[str, Any]) -> None:
        if record["step"] == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="SIGTERM"), stopping_on_signals():
        run_once(tmp_path, on_progress=press)
    assert (tmp_path / "checkpoints" / "step-000006").is_dir()


def test_checkpoints_are_saved_by_the_clock_and_change_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run_once(tmp_path / "whole")
    now = [0.0]
    monkeypatch.setattr(loop, "_clock", lambda: now[0])
    saved: list[int] = []
    save = saving.save

    def noted(training: Any, progress: Any) -> Any:
        saved.append(progress.step)
        return save(training, progress)

    def a_minute_passes(record: dict[str, Any]) -> None:
        now[0] += 60.0

    monkeypatch.setattr(saving, "save", noted)
    timed, _ = run_once(
        tmp_path / "timed", config=config(save_minutes=1.5), on_progress=a_minute_passes
    )
    # an epoch has 3 steps, after each of which a checkpoint is written in any case
    assert saved == [2, 3, 5, 6]
    assert same(whole, timed)


def test_a_disk_that_fills_up_under_the_log_names_the_last_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(log: MetricsLog, record: dict[str, Any]) -> None:
        if record["step"] == 5:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MetricsLog, "write", write)
    with pytest.raises(
        TrainingError, match=r"the disk is full; step-000004 is whole\nhint: free some space"
    ):
        run_once(tmp_path, config=config(save_steps=2))


def test_the_best_epoch_by_metric_is_loaded_at_the_end(tmp_path: Path) -> None:
    scores = iter([0.2, 0.9, 0.9, 0.1])
    seen = []

    def validate(model: Any) -> dict[str, float]:
        seen.append({name: p.clone() for name, p in weights(model).items()})
        return {"accuracy": next(scores)}

    model, result = run_once(
        tmp_path,
        config=config(num_train_epochs=4, save_total_limit=1),
        validate=validate,
        select="accuracy",
    )
    assert result.best_step == 6
    assert all(
        torch.equal(a, b) for a, b in zip(weights(model).values(), seen[1].values(), strict=True)
    )
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [r["validation_accuracy"] for r in records if "validation_accuracy" in r] == [
        0.2,
        0.9,
        0.9,
        0.1,
    ]


BEST = Path("checkpoints", "step-000003")


def first_is_best() -> dict[str, Any]:
    """Options of a training whose first epoch, of three steps each, is the best of three."""
    scores = iter([0.9, 0.1, 0.1])
    return {
        "config": config(num_train_epochs=3),
        "validate": lambda model: {"accuracy": next(scores)},
        "select": "accuracy",
    }


def flip_a_bit(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    found = bytearray(path.read_bytes())
    found[-1] ^= 1
    path.write_bytes(found)


def flip_a_bit_and_its_checksum(checkpoint: Path) -> None:
    flip_a_bit(checkpoint)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["model.safetensors"] = file_sha256(checkpoint / "model.safetensors")
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def lose(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()


DAMAGE = {
    flip_a_bit: r"has the sha256 \w{12}, written as \w{12}",
    flip_a_bit_and_its_checksum: r"has the sha256 \w{12}, \w{12} was saved after step 3",
    lose: r"model.safetensors: No such file",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_best_checkpoint_that_was_damaged_while_training_is_never_shipped(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    def at_step_5(metrics: Any) -> None:
        if metrics["step"] == 5:
            damage(tmp_path / BEST)

    with pytest.raises(TrainingError, match=rf"the best checkpoint is damaged: .*{DAMAGE[damage]}"):
        run_once(tmp_path, on_progress=at_step_5, **first_is_best())


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_best_checkpoint_is_named_before_the_steps_that_are_left(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    def stop(metrics: Any) -> None:
        if metrics["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_once(tmp_path, on_progress=stop, **first_is_best())
    damage(tmp_path / BEST)
    seen: list[Any] = []
    with pytest.raises(TrainingError, match=DAMAGE[damage]):
        run_once(tmp_path, resume=True, on_progress=seen.append, **first_is_best())
    assert seen == []


def stopped_at(folder: Path, step: int, settings: TrainConfig, **options: Any) -> None:
    def stop(metrics: Any) -> None:
        if metrics["step"] == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_once(folder, on_progress=stop, config=settings, **options)


def test_a_damaged_newest_checkpoint_is_said_and_its_steps_are_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps 1 to 4 are saved, 3 and 4 damaged; save_total_limit is 1 on resuming, and a crash
    after step 3 must not lose it to the damaged step 4.
    """
    settings = config(save_steps=1, save_total_limit=4)
    whole, _ = run_once(tmp_path / "whole", config=settings)
    run = tmp_path / "run"
    stopped_at(run, 5, settings)
    third, fourth = (run / "checkpoints" / f"step-00000{i}" for i in (3, 4))
    flip_a_bit(third)
    lose(fourth)
    capsys.readouterr()
    few = config(save_steps=1, save_total_limit=1)
    stopped_at(run, 4, few, resume=True)
    said = [line for line in capsys.readouterr().err.splitlines() if "passed over" in line]
    again = "the steps after step-000002 are trained again, to the same bits"
    assert len(said) == 2
    assert said[0].startswith(f"note: {third}: damaged, and passed over: model.safetensors has the")
    assert said[0].endswith(f"; {again}")
    assert said[1] == (
        f"note: {fourth}: damaged, and passed over: model.safetensors: No such file or directory; "
        f"{again}"
    )
    model, _ = run_once(run, config=few, resume=True)
    assert same(model, whole)
    assert "after step-000003 are trained again" in capsys.readouterr().err


def test_where_every_checkpoint_is_damaged_the_error_says_what_is_wrong_with_the_newest(
    tmp_path: Path,
) -> None:
    settings = config(save_steps=1)
    stopped_at(tmp_path, 2, settings)
    lose(tmp_path / "checkpoints" / "step-000001")
    with pytest.raises(TrainingError) as caught:
        run_once(tmp_path, config=settings, resume=True)
    assert str(caught.value) == (
        f"{tmp_path}/checkpoints: no checkpoint is whole; the newest, step-000001: "
        "model.safetensors: No such file or directory\n"
        "hint: put one back from a copy, or remove the folder: then `tunesmith resume "
        f"{tmp_path}` trains from the first step"
    )


def test_removing_a_damaged_best_checkpoint_and_all_later_ones_gives_the_same_weights(
    tmp_path: Path,
) -> None:
    whole, _ = run_once(tmp_path / "whole", **first_is_best())

    def at_step_8(metrics: Any) -> None:
        if metrics["step"] == 8:
            flip_a_bit(tmp_path / "run" / BEST)

    with pytest.raises(TrainingError, match=r"\nhint: put it back, or remove it and all later"):
        run_once(tmp_path / "run", on_progress=at_step_8, **first_is_best())
    for checkpoint in (tmp_path / "run" / "checkpoints").glob("step-*"):
        shutil.rmtree(checkpoint)
    again, result = run_once(tmp_path / "run", resume=True, **first_is_best())
    assert result.best_step == 3
    assert same(whole, again)


@pytest.mark.parametrize("error, best_step", [(0.05, 6), (0.01, 3), (0.0, 3)])
def test_metrics_within_a_standard_error_are_decided_by_the_validation_loss(
    tmp_path: Path, error: float, best_step: int
) -> None:
    scores = iter([0.5, 0.48])

    def validate(model: Any) -> dict[str, float]:
        return {"accuracy": next(scores), "accuracy_standard_error": error}

    _, result = run_once(tmp_path, validation=made_data(), validate=validate, select="accuracy")
    losses = [entry["loss"] for entry in result.history]
    assert losses[1] < losses[0]
    assert result.best_step == best_step


def test_equal_metrics_are_decided_by_the_validation_loss(tmp_path: Path) -> None:
    _, result = run_once(
        tmp_path,
        validation=made_data(),
        validate=lambda model: {"accuracy": 0.5},
        select="accuracy",
    )
    losses = [entry["loss"] for entry in result.history]
    assert losses[1] < losses[0]
    assert result.best_step == 6


def test_validation_loss_is_the_mean_over_trained_tokens(tmp_path: Path) -> None:
    data = made_data(3)
    model, result = run_once(
        tmp_path, data=data, validation=data, config=config(num_train_epochs=1)
    )
    total, count = 0.0, 0
    for row in range(3):
        ids_BT = torch.from_numpy(data.row(row).astype(np.int64))[None]
        labels_BT = ids_BT.clone()
        labels_BT[0, : data.num_prompt_tokens[row]] = -100
        n = int(data.num_trained[row])
        total, count = total + model(input_ids=ids_BT, labels=labels_BT).loss.item() * n, count + n
    assert result.history[0]["loss"] == pytest.approx(total / count, rel=1e-6)


def test_validation_does_not_disturb_training(tmp_path: Path) -> None:
    quiet, _ = run_once(tmp_path / "a", config=config(neftune_noise_alpha=5.0))

    def draws(model: Any) -> dict[str, float]:
        torch.rand(7)
        return {"accuracy": 0.0}

    drawn, result = run_once(
        tmp_path / "b", config=config(neftune_noise_alpha=5.0), validate=draws, select="accuracy"
    )
    assert result.best_step == 3
    quiet_records, drawn_records = (
        read_metrics(tmp_path / name / "metrics.jsonl") for name in "ab"
    )
    assert [r["loss"] for r in quiet_records] == [r["loss"] for r in drawn_records]
    assert not same(quiet, drawn)


def test_a_loss_that_is_not_a_number_stops_before_the_weights_are_spoilt(tmp_path: Path) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with pytest.raises(
        TrainingError,
        match=r"step 1: the loss is nan and the gradient norm nan: model\.norm\.weight has a NaN "
        r"or an infinity in it\nhint: not a fault of the rows: get the base model again",
    ):
        run_once(tmp_path, model=model)
    assert bool(torch.isfinite(model.model.embed_tokens.weight).all())


def test_an_exploding_loss_stops_the_run(tmp_path: Path) -> None:
    settings = config(
        learning_rate=3.0, num_train_epochs=40, warmup_ratio=0.0, lr_scheduler_type="constant"
    )
    with pytest.raises(TrainingError, match=r"the loss has grown from 5\.\d+ to"):
        run_once(tmp_path, config=settings)


def test_merging_with_the_base_takes_the_weighted_mean_of_both(tmp_path: Path) -> None:
    tuned, _ = run_once(tmp_path / "a")
    merged, _ = run_once(tmp_path / "b", config=config(merge_with_base=0.25))
    base = weights(tiny_llama())
    for name, weight in weights(merged).items():
        assert torch.allclose(weight, 0.75 * weights(tuned)[name] + 0.25 * base[name], atol=1e-7)


def test_neftune_adds_noise_within_its_bound_while_training_and_none_in_validation(
    tmp_path: Path,
) -> None:
    """Uniform noise of at most alpha / sqrt(tokens * hidden units) on each number of the
    embeddings.
    """
    data = made_data(4)
    seen: list[tuple[bool, torch.Tensor]] = []
    model = tiny_llama()
    layer = model.model.layers[0]
    layer.register_forward_pre_hook(
        lambda module, inputs: seen.append((module.training, inputs[0].detach()))
    )
    settings = config(neftune_noise_alpha=5.0, num_train_epochs=1, learning_rate=1e-12)
    run_once(tmp_path, model=model, data=data, validation=data, config=settings)
    table = tiny_llama().model.embed_tokens.weight.detach()
    for training, states_BTH in seen[-2:]:  # the step, and the validation after it
        noise = torch.stack(
            [(table - state).abs().amax(1).min() for state in states_BTH.flatten(0, 1)]
        )
        limit = 5.0 / (states_BTH.shape[1] * states_BTH.shape[2]) ** 0.5
        if training:
            assert limit / 2 < float(noise.max()) <= limit
        else:
            assert float(noise.max()) < 1e-6
    assert [training for training, _ in seen[-2:]] == [True, False]


@pytest.mark.parametrize("limit, expected", [(0.01, 0.01), (0.0, None)])
def test_the_gradient_is_clipped_to_its_norm_and_not_with_zero(
    tmp_path: Path, limit: float, expected: float | None
) -> None:
    norms: list[float] = []

    def note(optimizer: Any, *_: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))

    handle = register_optimizer_step_pre_hook(note)
    try:
        run_once(tmp_path, config=config(max_grad_norm=limit))
    finally:
        handle.remove()
    recorded = [record["grad_norm"] for record in read_metrics(tmp_path / "metrics.jsonl")]
    assert min(recorded) > 0.02  # the log has the norm before clipping
    assert norms == pytest.approx([expected or norm for norm in recorded], rel=1e-3)


def test_label_smoothing_and_whole_runs_with_every_optimiser_lower_the_loss(tmp_path: Path) -> None:
    for optim in ("adamw", "adafactor", "muon"):
        settings = config(
            optim=optim, label_smoothing_factor=0.1, num_train_epochs=6, lr_scheduler_type="wsd"
        )
        run_once(tmp_path / optim, config=settings)
        records = read_metrics(tmp_path / optim / "metrics.jsonl")
        assert records[-1]["loss"] < records[0]["loss"], optim


def test_gradient_checkpointing_gives_the_same_losses(tmp_path: Path) -> None:
    run_once(tmp_path / "a", config=config(gradient_checkpointing=False), data=made_data(shared=40))
    _, result = run_once(
        tmp_path / "b", config=config(gradient_checkpointing=True), data=made_data(shared=40)
    )
    a, b = (read_metrics(tmp_path / name / "metrics.jsonl") for name in "ab")
    assert [r["loss"] for r in a] == pytest.approx([r["loss"] for r in b], rel=1e-5)
    assert result.forward_tokens < 0.8 * result.raw_tokens
    assert result.notes == []


@pytest.mark.slow
# tracing instantiates autograd functions and looks at .grad of tensors that are not leaves
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(not has_compiler(), reason="torch.compile needs a C++ compiler")
def test_compiled_layers_on_packed_rows_give_the_same_losses(tmp_path: Path) -> None:
    """Micro-batches differ in size, buckets and masks; the layers are compiled for all of them."""
    data = made_data(12, shared=40)
    settings = {"max_batch_tokens": 150, "num_train_epochs": 1}
    run_once(tmp_path / "a", config=config(**settings), data=data)
    torch._dynamo.utils.counters.clear()
    _, result = run_once(tmp_path / "b", config=config(**settings, torch_compile=True), data=data)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    assert result.notes == []
    a, b = (read_metrics(tmp_path / name / "metrics.jsonl") for name in "ab")
    assert [r["loss"] for r in b] == pytest.approx([r["loss"] for r in a], rel=1e-5)
    assert result.forward_tokens < 0.8 * result.raw_tokens


def test_neftune_pads_rows_and_dropout_shares_nothing_and_both_say_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, noisy = run_once(tmp_path / "a", config=config(neftune_noise_alpha=5.0))
    assert noisy.notes == [
        "rows are padded and share nothing: NEFTune's noise depends on the length of a row"
    ]
    assert capsys.readouterr().err.count("rows are padded and share nothing") == 1
    model = tiny_llama()
    model.config.attention_dropout = 0.1
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    _, dropped = run_once(tmp_path / "b", model=model)
    assert dropped.notes == [
        "shared prefixes are computed for each row: "
        "the model has dropout, which differs from row to row"
    ]
